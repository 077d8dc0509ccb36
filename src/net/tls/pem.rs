//! Certificate chains and private keys from PEM files (RFC 7468), with errors that a person can act on.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// Why TLS could not be set up: where, what, and what to do, in one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The file is missing, forbidden, or the like.
    #[error("{}: cannot read: {error}: give the path of a PEM file that this user may read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A section begins but is cut short or garbled.
    #[error("{}: not valid PEM: {}: export the file again", path.display(), garbled_how(error))]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: pem::Error,
    },
    /// No certificate in the file.
    #[error("{}: no CERTIFICATE section: {remedy}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
        /// What to do, after a look at what the file does hold.
        remedy: &'static str,
    },
    /// No private key in the file.
    #[error("{}: no PRIVATE KEY section: {remedy}", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What to do, after a look at what the file does hold.
        remedy: &'static str,
    },
    /// Certificate and key from two files do not belong together.
    #[error("{}: the key does not match the first certificate of {}: give the pair that was issued together, leaf first", key.display(), chain.display())]
    FilesMismatch {
        /// The chain's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Certificate and key do not belong together.
    #[error("the key does not match the first certificate: give the pair that was issued together, leaf first")]
    KeyMismatch,
    /// The key's file holds a key we cannot sign with.
    #[error("{}: unusable private key: {error}: give an RSA (2048 bits or more), ECDSA P-256/P-384/P-521 or Ed25519 key", path.display())]
    UnusableKeyFile {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        #[source]
        error: rustls::Error,
    },
    /// The key is one we cannot sign with.
    #[error("unusable private key: {0}: give an RSA (2048 bits or more), ECDSA P-256/P-384/P-521 or Ed25519 key")]
    UnusableKey(#[source] rustls::Error),
    /// The chain's file begins with something that is no X.509 certificate.
    #[error("{}: unusable certificate: {error}: give an X.509 v3 certificate", path.display())]
    UnusableCertificateFile {
        /// The file.
        path: PathBuf,
        /// What rustls said.
        #[source]
        error: rustls::Error,
    },
    /// The chain begins with something that is no X.509 certificate.
    #[error("unusable certificate: {0}: give an X.509 v3 certificate")]
    UnusableCertificate(#[source] rustls::Error),
    /// A trusted root is no certificate authority's certificate.
    #[error("unusable root certificate: {0}: give the X.509 certificate of an authority")]
    UnusableRoot(#[source] rustls::Error),
    /// rustls refuses what we ask of it.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The largest PEM file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

const GIVE_CHAIN: &str = "give a PEM file with the server's certificate first and its issuers after it";
const GIVE_KEY: &str = "give a PEM file with the private key of the certificate";

/// Reads every `CERTIFICATE` section of a file, in order: the leaf first, then its issuers.
///
/// # Errors
/// The file cannot be read, is garbled, or holds no certificate.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let octets = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&octets).collect::<Result<_, _>>().map_err(garbled(path))?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    let remedy = if holds(&octets, b"PRIVATE KEY-----") {
        "the file holds a private key: are the certificate's and the key's paths swapped?"
    } else {
        GIVE_CHAIN
    };
    Err(TlsError::NoCertificate { path: path.into(), remedy })
}

/// Reads the first private key of a file: PKCS #8, PKCS #1 (`RSA`) or SEC 1 (`EC`), not encrypted.
///
/// # Errors
/// The file cannot be read, is garbled, or holds no private key.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let octets = read(path)?;
    match PrivateKeyDer::from_pem_slice(&octets) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            let remedy = if holds(&octets, b"-----BEGIN ENCRYPTED PRIVATE KEY-----") {
                "the key is encrypted: decrypt it first (openssl pkey -in FILE -out PLAIN)"
            } else if holds(&octets, b"-----BEGIN CERTIFICATE-----") {
                "the file holds a certificate: are the certificate's and the key's paths swapped?"
            } else {
                GIVE_KEY
            };
            Err(TlsError::NoKey { path: path.into(), remedy })
        }
        Err(error) => Err(garbled(path)(error)),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    read_bounded(path).map_err(|error| TlsError::Unreadable { path: path.into(), error })
}

/// Neither a device without end nor a pipe without a writer may hold the start up.
fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let refuse = |why: String| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() && !metadata.is_dir() {
        return refuse("not a regular file".to_owned());
    }
    if metadata.len() > FILE_BYTES_MAX {
        return refuse(format!(
            "{} octets, more than the {FILE_BYTES_MAX} that certificates and keys need",
            metadata.len()
        ));
    }
    fs::read(path)
}

fn garbled(path: &Path) -> impl Fn(pem::Error) -> TlsError + '_ {
    |error| TlsError::Garbled { path: path.into(), error }
}

/// rustls' own words show octets as a list of numbers.
fn garbled_how(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section begins and does not end",
        pem::Error::IllegalSectionStart { .. } => "a section begins in the wrong way",
        pem::Error::Base64Decode(_) => "a section is not base64",
        pem::Error::Io(_) => "it can not be read to its end",
        pem::Error::SectionTooLarge => "a section is too large",
        _ => "its sections are damaged",
    }
}

fn holds(octets: &[u8], text: &[u8]) -> bool {
    octets.windows(text.len()).any(|window| window == text)
}

#[cfg(all(test, feature = "cli"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{super::server_config_from_files, *};

    /// What the two files hold, and the error with `{chain}` and `{key}` for their paths; empty if all is well.
    fn check(chain: Option<&str>, key: Option<&str>, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let (chain_path, key_path) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        for (path, text) in [(&chain_path, chain), (&key_path, key)] {
            if let Some(text) = text {
                fs::write(path, text).unwrap();
            }
        }
        let said = match server_config_from_files(&chain_path, &key_path) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let said = said
            .replace(&chain_path.display().to_string(), "{chain}")
            .replace(&key_path.display().to_string(), "{key}");
        assert!(said.starts_with(expected) && said.is_empty() == expected.is_empty(), "said: {said}\nnot: {expected}");
        assert!(!said.contains('\n'), "{said}");
    }

    #[test]
    fn every_broken_pair_of_files_says_where_what_and_what_to_do() {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap().signing_key.serialize_pem();
        let (cert, key, other) = (cert.as_str(), key.as_str(), other.as_str());
        let both = format!("{key}\n{cert}");
        let cut = &cert[..cert.len() / 2];
        let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
        let no_key_inside = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let no_cert_inside = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

        check(Some(cert), Some(key), "");
        check(Some(&both), Some(&both), "");
        check(None, Some(key), "{chain}: cannot read: No such file or directory (os error 2): give the path");
        check(Some(cert), None, "{key}: cannot read: No such file");
        check(
            Some(""),
            Some(key),
            "{chain}: no CERTIFICATE section: give a PEM file with the server's certificate first",
        );
        check(Some(key), Some(key), "{chain}: no CERTIFICATE section: the file holds a private key: are");
        check(Some(cert), Some(""), "{key}: no PRIVATE KEY section: give a PEM file with the private key");
        check(Some(cert), Some(cert), "{key}: no PRIVATE KEY section: the file holds a certificate: are");
        check(Some(cert), Some(&encrypted), "{key}: no PRIVATE KEY section: the key is encrypted: decrypt it");
        check(Some(cut), Some(key), "{chain}: not valid PEM: ");
        check(Some(cert), Some(other), "{key}: the key does not match the first certificate of {chain}: give");
        check(Some(cert), Some(no_key_inside), "{key}: unusable private key: ");
        check(Some(no_cert_inside), Some(key), "{chain}: unusable certificate: ");
    }
}

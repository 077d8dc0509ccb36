//! The TLS side of a server: the operator's certificate, or the local one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{
    error::Error,
    local_ca,
    options::Options,
    stand_in::{read_chain, read_key, server_config},
};

/// A certificate with its key, ready to serve.
#[derive(Debug)]
pub(super) struct Identity {
    pub tls: Arc<rustls::ServerConfig>,
    /// What clients must be told to trust; `None` with a certificate of the operator's.
    pub ca: Option<PathBuf>,
}

/// The folder of the local certificate, by the XDG base directory specification.
pub(super) fn local_folder() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|dirs| dirs.data_dir().join("wslab").join("tls"))
}

/// Loads what the options name. `folder` is where the local certificate lives.
pub(super) fn load(options: &Options, folder: Option<&Path>) -> Result<Identity, Error> {
    if let (Some(cert), Some(key)) = (&options.tls_cert, &options.tls_key) {
        return load_files(cert, key);
    }
    let pair = local_ca::ensure(folder.ok_or(Error::NoDataFolder)?, SystemTime::now())?;
    let tls = server_config(pair.chain, pair.key)
        .map_err(|error| Error::Certificate(format!("cannot use the local certificate: {error}")))?;
    Ok(Identity { tls, ca: Some(pair.ca) })
}

fn load_files(cert: &Path, key: &Path) -> Result<Identity, Error> {
    let chain = read_chain(cert)
        .map_err(|error| Error::Certificate(format!("cannot read the certificate: {error}: check --tls-cert")))?;
    let private = read_key(key)
        .map_err(|error| Error::Certificate(format!("cannot read the private key: {error}: check --tls-key")))?;
    let tls = server_config(chain, private).map_err(|error| {
        Error::Certificate(format!(
            "cannot use the certificate {} with the key {}: {error}: check that they belong together",
            cert.display(),
            key.display()
        ))
    })?;
    Ok(Identity { tls, ca: None })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn complaint(cert: &Path, key: &Path) -> String {
        let error = load_files(cert, key).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        error.to_string()
    }

    #[test]
    fn a_pair_that_cannot_be_used_says_which_file_and_why() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            local_ca::ensure(folder.path(), SystemTime::now()).unwrap();
        }
        let (cert, key) = (one.path().join("leaf.pem"), one.path().join("leaf-key.pem"));
        assert!(load_files(&cert, &key).is_ok());

        let mismatch = complaint(&cert, &two.path().join("leaf-key.pem"));
        assert!(mismatch.starts_with(&format!("wslab: cannot use the certificate {}", cert.display())), "{mismatch}");
        let missing = complaint(&one.path().join("none.pem"), &key);
        assert!(missing.contains("none.pem") && missing.ends_with("check --tls-cert"), "{missing}");
        fs::write(one.path().join("empty.pem"), "no pem here").unwrap();
        let empty = complaint(&cert, &one.path().join("empty.pem"));
        assert!(empty.contains("empty.pem") && empty.ends_with("check --tls-key"), "{empty}");
        let empty = complaint(&one.path().join("empty.pem"), &key);
        assert!(!empty.contains('\n'), "{empty}");
    }

    #[test]
    fn without_a_home_there_is_no_local_certificate() {
        let error = load(&Options::default(), None).unwrap_err();
        assert_eq!(error.exit_code(), 3);
    }
}

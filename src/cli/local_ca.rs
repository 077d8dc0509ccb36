//! A certificate for `localhost` that clients can trust: a CA and a leaf, made once and kept in the data folder.
//!
//! The CA's private key is never stored: it signs one leaf and is forgotten, so whoever trusts `ca.pem` trusts that
//! leaf and nothing that anybody could make later. The price: CA and leaf end together, after 397 days, and both are
//! made anew when seven days are left.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::CertifiedKey,
};

use super::error::Error;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest that clients accept (CA/Browser Forum, 398 days), less one.
const VALID: Duration = DAY.saturating_mul(397);
/// What is left when the pair is made anew.
const RENEW_BEFORE: Duration = DAY.saturating_mul(7);
/// For clients whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The local certificate, ready to serve.
#[derive(Debug)]
pub(super) struct LocalPair {
    /// What a client must be told to trust.
    pub ca: PathBuf,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// Whether this address is one that the local certificate's `localhost` stands for.
pub(super) fn is_localhost(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// The pair in this folder; made if there is none that is whole and valid for another week.
pub(super) fn ensure(folder: &Path, now: SystemTime) -> Result<LocalPair, Error> {
    let unusable = |source| Error::DataFolder { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unusable)?;
    // Two servers that start at once: the second one waits here and then finds the first one's pair.
    // The lock is on the folder itself, so one that cannot be written but holds a good pair will do.
    let lock = File::open(folder).map_err(unusable)?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).map_err(|errno| unusable(errno.into()))?;
    if let Some(pair) = load(folder, now) {
        return Ok(pair);
    }
    let made = make(now).map_err(|error| Error::Certificate(format!("cannot make a local certificate: {error}")))?;
    // The key first: a crash in between leaves files that do not match, which the next start notices.
    write(folder, "leaf-key.pem", 0o600, &made.key).map_err(unusable)?;
    write(folder, "leaf.pem", 0o644, &made.leaf).map_err(unusable)?;
    write(folder, "ca.pem", 0o644, &made.ca).map_err(unusable)?;
    load(folder, now).ok_or_else(|| {
        Error::Certificate(format!(
            "the local certificate just made in {} does not verify: check the clock",
            folder.display()
        ))
    })
}

/// The pair, if a client that trusts its CA would still accept it in a week, under each of its names.
fn load(folder: &Path, now: SystemTime) -> Option<LocalPair> {
    let ca = folder.join("ca.pem");
    let key_path = folder.join("leaf-key.pem");
    let root = CertificateDer::from_pem_file(&ca).ok()?;
    let leaf = CertificateDer::from_pem_file(folder.join("leaf.pem")).ok()?;
    let key = PrivateKeyDer::from_pem_file(&key_path).ok()?;

    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(root).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().ok()?;
    let then = UnixTime::since_unix_epoch((now + RENEW_BEFORE).duration_since(SystemTime::UNIX_EPOCH).ok()?);
    for name in NAMES {
        verifier.verify_server_cert(&leaf, &[], &ServerName::try_from(name).ok()?, &[], then).ok()?;
    }
    CertifiedKey::from_der(vec![leaf.clone()], key.clone_key(), &provider).ok()?;

    // Somebody may have copied the folder with a loose umask.
    if fs::metadata(&key_path).ok()?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(&key_path, fs::Permissions::from_mode(0o600)).ok()?;
    }
    Some(LocalPair { ca, chain: vec![leaf], key })
}

struct Made {
    ca: String,
    leaf: String,
    key: String,
}

fn make(now: SystemTime) -> Result<Made, rcgen::Error> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let not_before = epoch + since_epoch.saturating_sub(CLOCK_SKEW);
    let not_after = not_before + VALID;

    let mut ca = CertificateParams::default();
    (ca.not_before, ca.not_after) = (not_before, not_after);
    ca.distinguished_name = named("wslab local CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let mut leaf = CertificateParams::new(NAMES.map(str::to_owned))?;
    (leaf.not_before, leaf.not_after) = (not_before, not_after);
    leaf.distinguished_name = named("localhost");
    leaf.use_authority_key_identifier_extension = true;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok(Made { leaf: leaf.signed_by(&key, &ca)?.pem(), ca: ca.pem(), key: key.serialize_pem() })
}

fn named(name: &str) -> rcgen::DistinguishedName {
    let mut distinguished = rcgen::DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// Writes a whole file or none. The caller holds the folder's lock, so the temporary name is ours alone.
fn write(folder: &Path, name: &str, mode: u32, text: &str) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    fn all(folder: &Path) -> [String; 3] {
        ["ca.pem", "leaf.pem", "leaf-key.pem"].map(|name| read(folder, name))
    }

    #[test]
    fn made_once_and_reused_until_a_week_before_its_end() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("wslab/tls");
        let now = SystemTime::now();
        let pair = ensure(&folder, now).unwrap();
        assert_eq!(pair.ca, folder.join("ca.pem"));
        let first = all(&folder);

        ensure(&folder, now + DAY * 389).unwrap();
        assert_eq!(all(&folder), first, "reused");

        ensure(&folder, now + DAY * 391).unwrap();
        let second = all(&folder);
        assert!(first.iter().zip(&second).all(|(old, new)| old != new), "all three renewed");
    }

    #[test]
    fn only_the_owner_reads_the_key_and_nothing_else_is_left_behind() {
        let data = tempfile::tempdir().unwrap();
        let key = data.path().join("leaf-key.pem");
        let mode = || fs::metadata(&key).unwrap().permissions().mode() & 0o777;
        ensure(data.path(), SystemTime::now()).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        ensure(data.path(), SystemTime::now()).unwrap();
        assert_eq!(mode(), 0o600);
        let mut names: Vec<_> = fs::read_dir(data.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["ca.pem", "leaf-key.pem", "leaf.pem"]);
    }

    #[test]
    fn files_that_do_not_match_are_made_anew() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for name in ["ca.pem", "leaf.pem", "leaf-key.pem"] {
            ensure(one.path(), SystemTime::now()).unwrap();
            ensure(two.path(), SystemTime::now()).unwrap();
            fs::copy(two.path().join(name), one.path().join(name)).unwrap();
            assert!(load(one.path(), SystemTime::now()).is_none(), "foreign {name}");
            ensure(one.path(), SystemTime::now()).unwrap();
            fs::write(one.path().join(name), "").unwrap();
            ensure(one.path(), SystemTime::now()).unwrap();
        }
    }

    #[test]
    fn servers_that_start_at_once_share_one_pair() {
        let data = tempfile::tempdir().unwrap();
        let chains: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..8).map(|_| scope.spawn(|| ensure(data.path(), SystemTime::now()).unwrap().chain)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(chains.windows(2).all(|pair| pair[0] == pair[1]));
    }

    #[test]
    fn a_folder_that_cannot_be_says_what_to_do() {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("file");
        fs::write(&file, "").unwrap();
        let error = ensure(&file.join("tls"), SystemTime::now()).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert_eq!(
            error.to_string(),
            format!(
                "wslab: cannot keep the local certificate in {}/tls: not a directory: set XDG_DATA_HOME to a writable \
                 folder, give --tls-cert and --tls-key, or switch wss off with --no-tls",
                file.display()
            )
        );
    }
}

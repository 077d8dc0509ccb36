//! The TLS side of a server: the operator's certificate, or the local one.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::{error::Error, local_ca, options::Options};
use crate::net::tls::{server_config, server_config_from_files};

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
        let tls = server_config_from_files(cert, key).map_err(|error| Error::Certificate(error.to_string()))?;
        return Ok(Identity { tls: with_key_log(tls), ca: None });
    }
    let pair = local_ca::ensure(folder.ok_or(Error::NoDataFolder)?, SystemTime::now())?;
    let tls = server_config(pair.chain, pair.key)
        .map_err(|error| Error::Certificate(format!("cannot use the local certificate: {error}")))?;
    Ok(Identity { tls: with_key_log(tls), ca: Some(pair.ca) })
}

/// Secrets go to the file that SSLKEYLOGFILE names, if it names one, for a look at the wire.
fn with_key_log(mut tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    Arc::make_mut(&mut tls).key_log = Arc::new(rustls::KeyLogFile::new());
    tls
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn load_files(cert: &Path, key: &Path) -> Result<Identity, Error> {
        let options = Options { tls_cert: Some(cert.into()), tls_key: Some(key.into()), ..Options::default() };
        load(&options, None)
    }

    #[test]
    fn a_pair_that_cannot_be_used_is_one_line_with_the_file_and_exit_code_3() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &two] {
            local_ca::ensure(folder.path(), SystemTime::now()).unwrap();
        }
        let file = |name: &str| one.path().join(name);
        fs::write(file("empty.pem"), "no pem here").unwrap();
        let (cert, key) = (file("leaf.pem"), file("leaf-key.pem"));
        let identity = load_files(&cert, &key).unwrap();
        assert_eq!(identity.ca, None);

        for (cert, key, blamed) in [
            (&cert, &two.path().join("leaf-key.pem"), "leaf-key.pem"),
            (&file("none.pem"), &key, "none.pem"),
            (&file("empty.pem"), &key, "empty.pem"),
            (&cert, &file("empty.pem"), "empty.pem"),
            (&cert, &cert, "leaf.pem"),
        ] {
            let error = load_files(cert, key).unwrap_err();
            assert_eq!(error.exit_code(), 3);
            let line = error.to_string();
            assert!(line.starts_with("wslab: ") && line.contains(blamed) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    fn without_a_home_there_is_no_local_certificate() {
        let error = load(&Options::default(), None).unwrap_err();
        assert_eq!(error.exit_code(), 3);
    }
}

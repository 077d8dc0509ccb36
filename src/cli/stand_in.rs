//! Stand-ins for `crate::server` and `crate::net` until those rooms exist; nothing else of the command line knows.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::{Arc, Condvar, Mutex},
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

pub(super) fn server_config_from_files(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    server_config(read_chain(chain)?, read_key(key)?).map_err(|error| format!("{} {} {error}", chain.display(), key.display()))
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{}: {error}", path.display()))
}

pub(super) fn server_config(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Arc<ServerConfig>, String> {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

#[derive(Default)]
pub(super) struct Echo;

pub(super) struct BindError {
    pub addr: SocketAddr,
    pub source: io::Error,
    pub tls: bool,
}

pub(super) struct Workers {
    _listeners: Vec<TcpListener>,
    plain: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    handle: Handle,
}

impl Workers {
    pub(super) fn bind<T>(config: &crate::server::Config, _count: usize, _handler: impl Fn() -> T) -> Result<Workers, BindError> {
        let mut listeners = Vec::new();
        let mut open = |addrs: &[SocketAddr], tls| {
            addrs
                .iter()
                .map(|&addr| {
                    let failed = |source| BindError { addr, source, tls };
                    let listener = TcpListener::bind(addr).map_err(failed)?;
                    let addr = listener.local_addr().map_err(failed)?;
                    listeners.push(listener);
                    Ok(addr)
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let plain = open(&config.listen, false)?;
        let tls = open(&config.listen_tls, true)?;
        Ok(Workers { _listeners: listeners, plain, tls, handle: Handle(Arc::default()) })
    }

    pub(super) fn local_addrs(&self) -> &[SocketAddr] {
        &self.plain
    }

    pub(super) fn local_addrs_tls(&self) -> &[SocketAddr] {
        &self.tls
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(super) fn run(self) -> io::Result<()> {
        let (ended, wake) = &*self.handle.0;
        let ended = ended.lock().map_err(|_| io::ErrorKind::Other)?;
        drop(wake.wait_while(ended, |ended| !*ended).map_err(|_| io::ErrorKind::Other)?);
        Ok(())
    }
}

#[derive(Clone)]
pub(super) struct Handle(Arc<(Mutex<bool>, Condvar)>);

impl Handle {
    pub(super) fn drain(&self) {
        self.stop();
    }

    pub(super) fn stop(&self) {
        if let Ok(mut ended) = self.0.0.lock() {
            *ended = true;
        }
        self.0.1.notify_all();
    }

    pub(super) fn reload_tls(&self, _tls: Arc<ServerConfig>) {}
}

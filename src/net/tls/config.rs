//! rustls configurations for this server and for our own client: TLS 1.2 and 1.3, ALPN `http/1.1`, aws-lc-rs.
//! The provider is named here, so no process-wide default is needed.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, InconsistentKeys, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use super::pem::{TlsError, read_chain, read_key};

/// The only application protocol spoken over our TLS (RFC 7301; the HTTP Upgrade of RFC 6455 is an HTTP/1.1 affair).
const ALPN: &[u8] = b"http/1.1";

/// Whom a client believes.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Servers whose certificate leads to one of these and bears the name asked for.
    Roots(Vec<CertificateDer<'static>>),
    /// Anyone at all: encrypted against listeners, but not authenticated. For tests and measurements only.
    Anyone,
}

/// A server's configuration for one certificate chain, leaf first, and its key.
///
/// A client that offers ALPN without `http/1.1` is refused with `no_application_protocol` (RFC 7301 §3.2); one that offers no
/// ALPN is welcome. Sessions are resumed by stateless tickets, one a handshake (each costs an encryption and some 200 octets),
/// so loops may share the configuration. Early data is never accepted, since it can be replayed. The keys of a connection can be
/// had from rustls (`enable_secret_extraction`), because soon after the handshake records are sealed and opened without it, and
/// without the provider's ciphers, by aws-lc-rs. A configuration that forbids it, asks for short records (`max_fragment_size`) or
/// is for FIPS stays with rustls throughout.
///
/// # Errors
/// The key is unusable or is not the leaf's.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch,
        Error::InvalidCertificate(_) | Error::NoCertificatesPresented => TlsError::UnusableCertificate(error),
        other => TlsError::UnusableKey(other),
    })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    config.enable_secret_extraction = true;
    Ok(Arc::new(config))
}

/// [`server_config`] from PEM files; its errors name the files.
///
/// # Errors
/// A file cannot be read, holds nothing of use, or the two do not belong together.
pub fn server_config_from_files(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    server_config(read_chain(chain)?, read_key(key)?).map_err(|error| match error {
        TlsError::KeyMismatch => TlsError::FilesMismatch { chain: chain.into(), key: key.into() },
        TlsError::UnusableKey(error) => TlsError::UnusableKeyFile { path: key.into(), error },
        TlsError::UnusableCertificate(error) => TlsError::UnusableCertificateFile { path: chain.into(), error },
        other => other,
    })
}

/// A client's configuration; ALPN `http/1.1`, no client certificate.
///
/// # Errors
/// A root is no certificate.
pub fn client_config(trust: Trust) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13, &TLS12])?;
    let mut config = match trust {
        Trust::Roots(certificates) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates {
                roots.add(certificate).map_err(TlsError::UnusableRoot)?;
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelieveAnyone { provider }))
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// Asks no certificate who it is. It still checks that the peer holds the certificate's key, so that a broken server is
/// noticed; that proves nothing about who the peer is. Reached through [`Trust::Anyone`] alone.
#[derive(Debug)]
struct BelieveAnyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for BelieveAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

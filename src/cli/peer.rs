//! What the commands that connect have in common: the URL and whom to trust, and why a server was not reached, in one line with a remedy.

use std::{io, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, value_parser};
use rustls::{CertificateError, RootCertStore};

use super::{
    error::{Error, reason},
    units::show_duration,
};
use crate::{
    client::{Client, Config, OpenError, Target, TargetError, Timeline, Url},
    net::{Trust, client_config, tls::read_chain},
    proto::{Closure, Settings, Wait, deflate::DeflateMode, handshake::HandshakeError},
    session::Handler,
};

/// The server to connect to, as the command line names it.
#[derive(Debug)]
pub(super) struct Peer {
    pub url: Url,
    cacert: Option<PathBuf>,
    insecure: bool,
    deflate: DeflateMode,
}

/// URL, `--cacert`, `--insecure` and `--deflate`.
pub(super) fn args() -> [Arg; 4] {
    [
        Arg::new("url").value_name("URL").required(true).value_parser(value_parser!(Url)).help("ws:// or wss://"),
        Arg::new("cacert")
            .long("cacert")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .conflicts_with("insecure")
            .help("Trust the authorities in this PEM file, and not the system's"),
        Arg::new("insecure")
            .long("insecure")
            .action(ArgAction::SetTrue)
            .help("Trust any certificate: for tests, since it proves nothing about who answers"),
        Arg::new("deflate")
            .long("deflate")
            .value_name("MODE")
            .value_parser(["off", "on", "takeover"])
            .default_value("off")
            .help("Offer permessage-deflate: \"on\" with each message alone, \"takeover\" with context"),
    ]
}

impl Peer {
    /// From what [`args`] took; `None` never happens then.
    pub(super) fn from(matches: &ArgMatches) -> Option<Peer> {
        matches.get_one::<Url>("url").map(|url| Peer::at(url, matches))
    }

    /// The same where several URLs may be named.
    pub(super) fn all(matches: &ArgMatches) -> Vec<Peer> {
        matches.get_many::<Url>("url").into_iter().flatten().map(|url| Peer::at(url, matches)).collect()
    }

    fn at(url: &Url, matches: &ArgMatches) -> Peer {
        Peer {
            url: url.clone(),
            cacert: matches.get_one::<PathBuf>("cacert").cloned(),
            insecure: matches.get_flag("insecure"),
            deflate: match matches.get_one::<String>("deflate").map(String::as_str) {
                Some("on") => DeflateMode::On,
                Some("takeover") => DeflateMode::Takeover,
                _ => DeflateMode::Off,
            },
        }
    }

    /// A client that can connect there. `handshake` bounds the way to the open connection.
    pub(super) fn client<H: Handler>(
        &self,
        mut settings: Settings,
        handshake: Duration,
        handler: H,
    ) -> Result<Client<H>, Error> {
        settings.timeouts.handshake = handshake;
        Client::new(&self.config(settings)?, handler)
            .map_err(|source| Error::System { doing: "set up an event loop", source })
    }

    /// What such a client is made from.
    pub(super) fn config(&self, mut settings: Settings) -> Result<Config, Error> {
        settings.deflate.mode = self.deflate;
        let mut config = Config { settings, ..Config::default() };
        if self.url.is_tls() {
            let tls = client_config(self.trust()?).map_err(|error| Error::Certificate(error.to_string()))?;
            config.tls = Some(tls);
        }
        Ok(config)
    }

    /// Looks the name up.
    pub(super) fn resolve(&self, timeout: Duration) -> Result<Target, Error> {
        Target::resolve(&self.url, timeout).map_err(|error| {
            self.unreached(&match error {
                TargetError::Lookup { host, source } => {
                    let why = reason(&source);
                    format!("cannot look up {host}: {}", why.rsplit(": ").next().unwrap_or_default().to_lowercase())
                }
                other => other.to_string(),
            })
        })
    }

    /// A connection that was not even begun.
    pub(super) fn unopened(&self, error: &OpenError) -> Error {
        self.unreached(&match error {
            OpenError::Io(error) => reason(error),
            other => other.to_string(),
        })
    }

    /// A connection that never opened. `trouble` is what [`explain`] made of the socket's error, if there was one.
    pub(super) fn failed(
        &self,
        trouble: Option<&str>,
        closure: &Closure,
        timeline: Option<&Timeline>,
        waited: Duration,
    ) -> Error {
        let stage = match timeline {
            Some(Timeline { connected: None, .. }) => "the TCP connection",
            Some(Timeline { secured: None, .. }) if self.url.is_tls() => "the TLS handshake",
            _ => "the upgrade",
        };
        self.unreached(&match (trouble, closure) {
            (Some(trouble), _) => trouble.to_owned(),
            (None, Closure::TimedOut(Wait::Handshake)) => {
                format!("no answer within {}: it ended in {stage}", show_duration(waited))
            }
            (None, Closure::Eof) => format!("the server closed the connection in {stage}"),
            (None, Closure::HandshakeFailed(error @ HandshakeError::Status { status: 404, .. })) => {
                format!("{error}: is the path right?")
            }
            // What a TLS alert looks like to those who expect text.
            (None, Closure::HandshakeFailed(error @ HandshakeError::Malformed(_))) if !self.url.is_tls() => {
                format!("{error}: is it a wss:// port?")
            }
            (None, Closure::HandshakeFailed(error)) => error.to_string(),
            (None, other) => other.to_string(),
        })
    }

    fn unreached(&self, why: &str) -> Error {
        Error::Unreached(format!("wslab: cannot reach {}: {why}", self.url))
    }

    fn trust(&self) -> Result<Trust, Error> {
        if self.insecure {
            return Ok(Trust::Anyone);
        }
        if let Some(file) = &self.cacert {
            return read_chain(file).map(Trust::Roots).map_err(|error| Error::Certificate(error.to_string()));
        }
        let found = rustls_native_certs::load_native_certs();
        // A store may hold roots that are too odd to be used; they are no reason to trust nobody.
        let usable = |root: &_| RootCertStore::empty().add(Clone::clone(root)).is_ok();
        let roots: Vec<_> = found.certs.into_iter().filter(usable).collect();
        if roots.is_empty() {
            return Err(Error::Certificate(
                "the system has no trusted authorities: install ca-certificates, or name a file with --cacert"
                    .to_owned(),
            ));
        }
        Ok(Trust::Roots(roots))
    }
}

/// What a socket's or TLS' error means and what to do, in one line.
pub(super) fn explain(error: &io::Error) -> String {
    let failure = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    let tls = failure.and_then(|failure| failure.source().or(Some(failure))).and_then(|cause| cause.downcast_ref());
    match tls {
        Some(rustls::Error::InvalidCertificate(why)) => explain_certificate(why),
        Some(rustls::Error::AlertReceived(alert)) => format!("the server refused TLS with alert {alert:?}"),
        Some(other) => format!("tls: {other}"),
        None if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused: nobody listens on that port".to_owned()
        }
        None if error.kind() == io::ErrorKind::InvalidData => {
            format!("{}: is it a ws:// port?", reason(error).split(" (").next().unwrap_or_default())
        }
        None => reason(error),
    }
}

fn explain_certificate(why: &CertificateError) -> String {
    use CertificateError as Why;
    match why {
        // A root of the same name but another key makes a bad signature.
        Why::UnknownIssuer | Why::BadSignature => {
            "the certificate's issuer is not trusted: name its authority's file with --cacert, or go without with --insecure".to_owned()
        }
        Why::Expired | Why::ExpiredContext { .. } => {
            "the certificate has expired: renew it on the server, or go without with --insecure".to_owned()
        }
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "the certificate is not valid yet: compare the clocks of both machines".to_owned()
        }
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            "the certificate is for another name: use one that it bears, or go without with --insecure".to_owned()
        }
        other if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is an authority's own, which no server may show: issue one from it, or go without with --insecure".to_owned()
        }
        other => format!("the certificate is not valid: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_that_are_refused_say_what_to_do() {
        use CertificateError as Why;
        for (why, said) in [
            (Why::UnknownIssuer, "the certificate's issuer is not trusted: name its authority's file with --cacert"),
            (Why::Expired, "the certificate has expired: renew it"),
            (Why::NotValidYet, "the certificate is not valid yet: compare the clocks"),
            (Why::NotValidForName, "the certificate is for another name: use one that it bears"),
            (Why::Revoked, "the certificate is not valid: "),
        ] {
            let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(why));
            assert!(explain(&error).starts_with(said), "{}", explain(&error));
        }
        assert_eq!(explain(&io::Error::from_raw_os_error(111)), "connection refused: nobody listens on that port");
        assert_eq!(explain(&io::Error::from_raw_os_error(113)), "no route to host");
    }
}

//! What can go wrong before a server runs, as one line each, and the exit code it ends in.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use crate::net::listener::is_out_of_descriptors;

/// Everything went as asked.
pub(super) const EXIT_OK: i32 = 0;
/// What was to be checked is not so.
pub(super) const EXIT_CHECK_FAILED: i32 = 1;
/// A bad flag, or a bad value in the environment or a file.
pub(super) const EXIT_USAGE: i32 = 2;
/// A port, a file or a certificate that cannot be used.
pub(super) const EXIT_CANNOT_START: i32 = 3;
/// A run that can not be believed.
pub(super) const EXIT_INVALID: i32 = 4;

/// Why the program ends before its work.
#[derive(Debug)]
pub(super) enum Error {
    /// A setting that cannot be what it is; already says where, what and what to do.
    Setting(String),
    /// The configuration file cannot be read.
    ConfigFile { path: PathBuf, source: io::Error },
    /// A file that an option names cannot be read.
    File { path: PathBuf, source: io::Error },
    /// An address cannot be listened on.
    Bind { addr: SocketAddr, tls: bool, source: io::Error },
    /// A socket that was passed cannot be used; already says which, why and what to do.
    Inherited(String),
    /// The admin address cannot be listened on.
    BindAdmin { addr: SocketAddr, source: io::Error },
    /// Too few files may be open; already says how many and what to do.
    OpenFiles(String),
    /// A certificate or key cannot be used; says which and why.
    Certificate(String),
    /// The folder for the local certificate cannot be used.
    DataFolder { path: PathBuf, source: io::Error },
    /// No home folder is known, so there is none for the local certificate either.
    NoDataFolder,
    /// A server cannot be reached; already says which, why and what to do.
    Unreached(String),
    /// A file of a result can not be read or written; already says which, why and what to do.
    Result(String),
    /// The system refused something that has no better name.
    System { doing: &'static str, source: io::Error },
}

impl Error {
    pub(super) fn exit_code(&self) -> i32 {
        match self {
            Error::Setting(_) => EXIT_USAGE,
            _ => EXIT_CANNOT_START,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Starts with file:line where there is one, as editors like it.
            Error::Setting(line) | Error::Unreached(line) => f.write_str(line),
            Error::ConfigFile { path, source } => {
                write!(
                    f,
                    "wslab: cannot read the configuration {}: {}: give the path of a TOML file",
                    path.display(),
                    reason(source)
                )
            }
            Error::File { path, source } => write!(f, "wslab: cannot read {}: {}", path.display(), reason(source)),
            Error::Bind { addr, tls, source } => write!(
                f,
                "wslab: cannot listen on {addr} ({}): {}: {}",
                if *tls { "wss" } else { "ws" },
                reason(source),
                bind_remedy(*addr, if *tls { "--listen-tls" } else { "--listen" }, source)
            ),
            Error::BindAdmin { addr, source } => write!(
                f,
                "wslab: cannot listen on {addr} (admin): {}: {}",
                reason(source),
                bind_remedy(*addr, "--admin", source)
            ),
            Error::Inherited(line) | Error::OpenFiles(line) | Error::Certificate(line) | Error::Result(line) => {
                write!(f, "wslab: {line}")
            }
            Error::DataFolder { path, source } => write!(
                f,
                "wslab: cannot keep the local certificate in {}: {}: set XDG_DATA_HOME to a writable folder, \
                 give --tls-cert and --tls-key, or switch wss off with --no-tls",
                path.display(),
                reason(source)
            ),
            Error::NoDataFolder => f.write_str(
                "wslab: no home folder to keep the local certificate in: set XDG_DATA_HOME to a writable folder, \
                 give --tls-cert and --tls-key, or switch wss off with --no-tls",
            ),
            Error::System { doing, source } => write!(f, "wslab: cannot {doing}: {}", reason(source)),
        }
    }
}

fn bind_remedy(addr: SocketAddr, flag: &str, source: &io::Error) -> String {
    let any_port = SocketAddr::new(addr.ip(), 0);
    match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "find who holds it with `ss -ltnp 'sport = :{}'`, or take a free port with {flag} {any_port}",
                addr.port()
            )
        }
        io::ErrorKind::PermissionDenied if addr.port() < 1024 => {
            format!(
                "ports below 1024 are privileged, choose another with {flag} {}",
                SocketAddr::new(addr.ip(), addr.port() + 8000)
            )
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("no interface of this machine has this address, see `ip address` and choose another with {flag}")
        }
        _ if is_out_of_descriptors(source) => "raise the limit of open files with `ulimit -n`".to_owned(),
        _ => format!("choose another address with {flag}"),
    }
}

/// The system's reason, lower case and without its number.
pub(super) fn reason(source: &io::Error) -> String {
    let text = source.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_cannot_be_says_which_and_what_to_do() {
        let check = |addr: &str, tls, kind: io::ErrorKind, expected: &str| {
            let error = Error::Bind { addr: addr.parse().unwrap(), tls, source: kind.into() };
            assert_eq!(error.to_string(), expected);
            assert_eq!(error.exit_code(), 3);
        };
        check(
            "127.0.0.1:8888",
            false,
            io::ErrorKind::AddrInUse,
            "wslab: cannot listen on 127.0.0.1:8888 (ws): address in use: find who holds it with \
             `ss -ltnp 'sport = :8888'`, or take a free port with --listen 127.0.0.1:0",
        );
        check(
            "[::1]:443",
            true,
            io::ErrorKind::PermissionDenied,
            "wslab: cannot listen on [::1]:443 (wss): permission denied: ports below 1024 are privileged, \
             choose another with --listen-tls [::1]:8443",
        );
        check(
            "192.0.2.1:80",
            false,
            io::ErrorKind::AddrNotAvailable,
            "wslab: cannot listen on 192.0.2.1:80 (ws): address not available: no interface of this machine has this \
             address, see `ip address` and choose another with --listen",
        );
    }

    #[test]
    fn the_systems_reason_is_lower_case_and_without_its_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "no such file or directory");
    }
}

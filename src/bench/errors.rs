//! What went wrong, by kind, with the first of each in words.

use std::{collections::BTreeMap, io};

use super::measured::ErrorKind;
use crate::{
    client::OpenError,
    proto::{Closure, Wait},
};

/// Says in one line what a socket's or TLS' error means; the command line has remedies to add.
pub type Explain = fn(&io::Error) -> String;

/// Errors by kind: how often, and the first one in words.
#[derive(Clone, Debug, Default)]
pub(super) struct Errors(pub(super) BTreeMap<ErrorKind, (u64, String)>);

impl Errors {
    /// Counts errors; the words are made for the first of a kind only.
    pub(super) fn add(&mut self, kind: ErrorKind, count: u64, words: impl FnOnce() -> String) {
        if count > 0 {
            self.0.entry(kind).or_insert_with(|| (0, words())).0 += count;
        }
    }

    /// All of them.
    pub(super) fn count(&self) -> u64 {
        self.0.values().map(|(count, _)| count).sum()
    }
}

/// The kind of a socket's error; `open`: the WebSocket connection had been open.
pub(super) fn kind_of(error: &io::Error, open: bool) -> ErrorKind {
    let inner = error.get_ref().map(|inner| inner as &(dyn std::error::Error + 'static));
    let is_tls = inner.is_some_and(|inner| {
        inner.is::<rustls::Error>() || inner.source().is_some_and(|source| source.is::<rustls::Error>())
    });
    match error.kind() {
        _ if is_exhausted(error) => ErrorKind::Resources,
        _ if is_tls => ErrorKind::Tls,
        _ if open => ErrorKind::Io,
        io::ErrorKind::InvalidData => ErrorKind::Tls,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            ErrorKind::Handshake
        }
        _ => ErrorKind::Connect,
    }
}

/// Whether this machine has no more descriptors, ports or memory for sockets.
fn is_exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::AddrInUse
        || matches!(error.raw_os_error(), Some(ENFILE | EMFILE | ENOBUFS))
}

/// A connection that could not even be begun: its kind, and what to do.
pub(super) fn unopened(error: &OpenError, explain: Explain) -> (ErrorKind, String) {
    let OpenError::Io(error) = error else { return (ErrorKind::Handshake, error.to_string()) };
    let kind = kind_of(error, false);
    let words = explain(error);
    match error.kind() {
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => (
            kind,
            format!(
                "{words}: one address has some 28,000 ports to one server: give more with --source 127.0.0.2-127.0.0.9"
            ),
        ),
        _ if kind == ErrorKind::Resources => (kind, format!("{words}: raise the limit of open files with `ulimit -n`")),
        _ => (kind, words),
    }
}

/// Why a connection that had not opened never will.
pub(super) fn failure(closure: &Closure) -> (ErrorKind, String) {
    let kind = match closure {
        Closure::TimedOut(_) => ErrorKind::Timeout,
        _ => ErrorKind::Handshake,
    };
    let words = match closure {
        Closure::TimedOut(Wait::Handshake) => "no answer to the opening handshake in time".to_owned(),
        Closure::Eof => "the server closed the connection in the opening handshake".to_owned(),
        Closure::HandshakeFailed(error) => error.to_string(),
        other => other.to_string(),
    };
    (kind, words)
}

/// Why a connection that was open ended before its time.
pub(super) fn ending(closure: &Closure) -> (ErrorKind, String) {
    match closure {
        Closure::TimedOut(Wait::WriteStall) => (ErrorKind::Timeout, "the server takes no octets".to_owned()),
        Closure::TimedOut(_) => (ErrorKind::Timeout, closure.to_string()),
        Closure::Failed(_) => (ErrorKind::Protocol, format!("the server broke the protocol: {closure}")),
        Closure::Eof => (ErrorKind::Closed, "the server ended TCP without a Close frame".to_owned()),
        other => (ErrorKind::Closed, format!("closed {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_kind_that_says_who_is_to_act() {
        let os = io::Error::from_raw_os_error;
        let tls = || io::Error::new(io::ErrorKind::InvalidData, rustls::Error::DecryptError);
        for (error, open, expected) in [
            (os(111), false, ErrorKind::Connect),
            (os(113), false, ErrorKind::Connect),
            (os(24), false, ErrorKind::Resources),
            (os(99), false, ErrorKind::Resources),
            (os(98), false, ErrorKind::Resources),
            (os(104), false, ErrorKind::Handshake),
            (os(104), true, ErrorKind::Io),
            (os(32), true, ErrorKind::Io),
            (tls(), false, ErrorKind::Tls),
            (tls(), true, ErrorKind::Tls),
        ] {
            assert_eq!(kind_of(&error, open), expected, "{error} {open}");
        }
        let (kind, words) = unopened(&OpenError::Io(os(99)), |error| error.to_string());
        assert!(kind == ErrorKind::Resources && words.contains("--source"), "{words}");
        let (kind, words) = unopened(&OpenError::Io(os(24)), |error| error.to_string());
        assert!(kind == ErrorKind::Resources && words.contains("ulimit -n"), "{words}");
    }

    #[test]
    fn the_first_of_a_kind_is_kept_in_words() {
        let mut errors = Errors::default();
        errors.add(ErrorKind::Closed, 2, || "first".to_owned());
        errors.add(ErrorKind::Closed, 3, || "second".to_owned());
        errors.add(ErrorKind::Io, 0, || "none".to_owned());
        assert_eq!(errors.0, BTreeMap::from([(ErrorKind::Closed, (5, "first".to_owned()))]));
        assert_eq!(errors.count(), 5);
    }
}

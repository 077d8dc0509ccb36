//! Sockets from a supervisor (systemd's socket activation, sd_listen_fds(3)): `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`.
//! They take the place of `--listen` and `--listen-tls`: what is not passed is not listened on.
//!
//! A socket goes where its name says: `ws` or `wss`, several of each if need be, and `admin`, which takes the place of `--admin`.
//! Where no other has a name of ours (systemd's own names are `unknown` and the unit's), the first is for ws and the second
//! for wss.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

use super::error::{Error, reason};
use crate::server::Inherited;

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Ws,
    Wss,
    Admin,
}

impl Purpose {
    fn of(name: &str) -> Option<Purpose> {
        match name {
            "ws" => Some(Purpose::Ws),
            "wss" => Some(Purpose::Wss),
            "admin" => Some(Purpose::Admin),
            _ => None,
        }
    }
}

/// The sockets that were passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// For ws and wss.
    pub doors: Vec<Inherited>,
    /// For the admin address.
    pub admin: Option<TcpListener>,
}

/// The sockets meant for this process; none, if there is no `LISTEN_FDS` or it is meant for another.
/// To be called before there are threads: the variables are taken out of the environment.
pub(super) fn take() -> Result<Passed, Error> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut listen_fds = ListenFd::from_env();
    let purposes = purposes(listen_fds.len(), &names).map_err(Error::Inherited)?;
    let mut passed = Passed::default();
    for (index, purpose) in purposes.into_iter().enumerate() {
        let broken = |why: String| {
            Error::Inherited(format!("LISTEN_FDS: socket {} of {}: {why}", index + 1, passed_name(&names, index)))
        };
        let Some(listener) = listen_fds
            .take_tcp_listener(index)
            .map_err(|error| broken(format!("{}: expected a TCP socket (ListenStream=PORT)", reason(&error))))?
        else {
            return Err(broken("passed twice".to_owned()));
        };
        if !is_listening(&listener) {
            return Err(broken("is a connection, not a listener: expected Accept=no in the socket unit".to_owned()));
        }
        match purpose {
            Purpose::Ws => passed.doors.push(Inherited { listener, tls: false }),
            Purpose::Wss => passed.doors.push(Inherited { listener, tls: true }),
            Purpose::Admin if passed.admin.is_some() => {
                return Err(broken(
                    "there is one already: expected one ListenStream= for the admin address".to_owned(),
                ));
            }
            Purpose::Admin => passed.admin = Some(listener),
        }
    }
    Ok(passed)
}

fn is_listening(listener: &TcpListener) -> bool {
    SockRef::from(listener).is_listener().unwrap_or(false)
}

/// The socket's name, for a message.
fn passed_name(names: &str, index: usize) -> String {
    match names.split(':').nth(index) {
        Some(name) if !name.is_empty() => format!("LISTEN_FDNAMES \"{}\"", name.escape_default()),
        _ => "no name".to_owned(),
    }
}

/// What each socket is for.
fn purposes(count: usize, names: &str) -> Result<Vec<Purpose>, String> {
    let names: Vec<&str> = names.split(':').collect();
    let named: Vec<Option<Purpose>> =
        (0..count).map(|index| Purpose::of(names.get(index).copied().unwrap_or_default())).collect();
    if named.iter().all(|purpose| matches!(purpose, None | Some(Purpose::Admin))) {
        let unnamed = named.iter().filter(|purpose| purpose.is_none()).count();
        if unnamed > 2 {
            return Err(format!(
                "LISTEN_FDS: {unnamed} sockets without a name of ours: give each FileDescriptorName=ws or FileDescriptorName=wss"
            ));
        }
        let mut in_order = [Purpose::Ws, Purpose::Wss].into_iter();
        return Ok(named.into_iter().filter_map(|purpose| purpose.or_else(|| in_order.next())).collect());
    }
    named
        .into_iter()
        .enumerate()
        .map(|(index, purpose)| {
            purpose.ok_or_else(|| {
                let name = names.get(index).copied().unwrap_or_default().escape_default();
                format!("LISTEN_FDNAMES: socket {} is named \"{name}\" and others have names of ours: expected \"ws\", \"wss\" or \"admin\" (FileDescriptorName=)", index + 1)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_where_their_names_say_or_else_by_their_order() {
        type Row = (usize, &'static str, Result<&'static [Purpose], &'static str>);
        use Purpose::{Admin, Ws, Wss};
        #[rustfmt::skip]
        let rows: &[Row] = &[
            (0, "", Ok(&[])),
            (1, "", Ok(&[Ws])),
            (2, "", Ok(&[Ws, Wss])),
            (2, "wslab.socket:wslab.socket", Ok(&[Ws, Wss])),
            (2, "unknown", Ok(&[Ws, Wss])),
            (1, "wss", Ok(&[Wss])),
            (2, "wss:ws", Ok(&[Wss, Ws])),
            (3, "ws:ws:wss", Ok(&[Ws, Ws, Wss])),
            (1, "admin", Ok(&[Admin])),
            (2, "admin:ws", Ok(&[Admin, Ws])),
            (3, "wslab.socket:wslab.socket:admin", Ok(&[Ws, Wss, Admin])),
            (3, "admin:unknown:admin", Ok(&[Admin, Ws, Admin])),
            (4, "a:b:admin:c", Err("3 sockets without")),
            (3, "ws:admin:c", Err("socket 3 is named \"c\"")),
            (3, "a:b:c", Err("FileDescriptorName=")),
            (2, "ws:other\x1b", Err("\"other\\u{1b}\"")),
            (2, "ws", Err("socket 2 is named \"\"")),
        ];
        for (count, names, expected) in rows {
            match (purposes(*count, names), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, *expected, "{count} {names:?}"),
                (Err(line), Err(word)) => assert!(line.contains(word), "{word:?} in {line}"),
                (found, expected) => panic!("{count} {names:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}

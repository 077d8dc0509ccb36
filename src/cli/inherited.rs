//! Sockets from a supervisor (systemd's socket activation, sd_listen_fds(3)): `LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`.
//! They take the place of `--listen` and `--listen-tls`: what is not passed is not listened on.
//!
//! A socket goes where its name says: `ws` or `wss`, several of each if need be. Where no socket has such a name (systemd's
//! own names are `unknown` and the unit's), the first is for ws and the second for wss.

use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

use super::error::{Error, reason};
use crate::server::Inherited;

/// The sockets meant for this process; none, if there is no `LISTEN_FDS` or it is meant for another.
/// To be called before there are threads: the variables are taken out of the environment.
pub(super) fn take() -> Result<Vec<Inherited>, Error> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut passed = ListenFd::from_env();
    let doors = doors(passed.len(), &names).map_err(Error::Inherited)?;
    let mut sockets = Vec::new();
    for (index, tls) in doors.into_iter().enumerate() {
        let broken = |why: String| {
            Error::Inherited(format!("LISTEN_FDS: socket {} of {}: {why}", index + 1, passed_name(&names, index)))
        };
        let Some(listener) = passed
            .take_tcp_listener(index)
            .map_err(|error| broken(format!("{}: expected a TCP socket (ListenStream=PORT)", reason(&error))))?
        else {
            return Err(broken("passed twice".to_owned()));
        };
        if !is_listening(&listener) {
            return Err(broken("is a connection, not a listener: expected Accept=no in the socket unit".to_owned()));
        }
        sockets.push(Inherited { listener, tls });
    }
    Ok(sockets)
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

/// For each socket whether it is for wss.
fn doors(count: usize, names: &str) -> Result<Vec<bool>, String> {
    let names: Vec<&str> = names.split(':').collect();
    let named: Vec<Option<bool>> = (0..count)
        .map(|index| match names.get(index) {
            Some(&"ws") => Some(false),
            Some(&"wss") => Some(true),
            _ => None,
        })
        .collect();
    if named.iter().all(Option::is_none) {
        return match count {
            0..=2 => Ok((0..count).map(|index| index == 1).collect()),
            _ => Err(format!(
                "LISTEN_FDS: {count} sockets without a name of ours: give each FileDescriptorName=ws or FileDescriptorName=wss"
            )),
        };
    }
    named
        .into_iter()
        .enumerate()
        .map(|(index, door)| {
            door.ok_or_else(|| {
                let name = names.get(index).copied().unwrap_or_default().escape_default();
                format!("LISTEN_FDNAMES: socket {} is named \"{name}\" and others have names of ours: expected \"ws\" or \"wss\" (FileDescriptorName=)", index + 1)
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_go_where_their_names_say_or_else_by_their_order() {
        type Row = (usize, &'static str, Result<&'static [bool], &'static str>);
        #[rustfmt::skip]
        let rows: &[Row] = &[
            (0, "", Ok(&[])),
            (1, "", Ok(&[false])),
            (2, "", Ok(&[false, true])),
            (2, "wslab.socket:wslab.socket", Ok(&[false, true])),
            (2, "unknown", Ok(&[false, true])),
            (1, "wss", Ok(&[true])),
            (2, "wss:ws", Ok(&[true, false])),
            (3, "ws:ws:wss", Ok(&[false, false, true])),
            (3, "a:b:c", Err("FileDescriptorName=")),
            (2, "ws:other\x1b", Err("\"other\\u{1b}\"")),
            (2, "ws", Err("socket 2 is named \"\"")),
        ];
        for (count, names, expected) in rows {
            match (doors(*count, names), expected) {
                (Ok(doors), Ok(expected)) => assert_eq!(doors, *expected, "{count} {names:?}"),
                (Err(line), Err(word)) => assert!(line.contains(word), "{word:?} in {line}"),
                (found, expected) => panic!("{count} {names:?}: {found:?}, not {expected:?}"),
            }
        }
    }
}

//! What a supervisor is told (sd_notify(3), `NOTIFY_SOCKET`): that we are ready, that we reload or stop, and, if it wants to
//! know (`WATCHDOG_USEC`), that every event loop still turns.

use std::{
    io, process,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use tracing::warn;

use super::error::reason;
use crate::server::Handle;

/// The state of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// Ready is to follow.
    Reloading,
    Stopping,
    /// It lives.
    Watchdog,
}

/// Tells the supervisor, if there is one. A failure is logged: it is no reason to stop.
pub(super) fn tell(state: State) {
    let message = match state {
        State::Ready => "READY=1".to_owned(),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}", monotonic_usec()),
        State::Stopping => "STOPPING=1".to_owned(),
        State::Watchdog => "WATCHDOG=1".to_owned(),
    };
    if let Err(error) = send(&message) {
        warn!("cannot tell the supervisor at NOTIFY_SOCKET: {}", reason(&error));
    }
}

fn monotonic_usec() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000)
}

#[cfg(target_os = "linux")]
fn send(message: &str) -> io::Result<()> {
    use std::os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    };
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Ok(()) };
    let addr = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(&path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &addr).map(drop)
}

#[cfg(not(target_os = "linux"))]
fn send(_: &str) -> io::Result<()> {
    Ok(())
}

/// How often the supervisor wants to hear of us: half of what it allows (sd_watchdog_enabled(3)). `None`: not at all.
pub(super) fn watchdog_interval() -> Option<Duration> {
    let variable = |name| std::env::var(name).ok();
    interval(variable("WATCHDOG_USEC").as_deref(), variable("WATCHDOG_PID").as_deref())
}

fn interval(usec: Option<&str>, pid: Option<&str>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(process::id()));
    let usec = usec?.parse().ok().filter(|usec| *usec > 0 && is_ours)?;
    Some(Duration::from_micros(usec) / 2)
}

/// Tells the supervisor every `interval` that the loops turn, if all of them have just answered. Ends with `end`'s sender.
pub(super) fn watch(handle: &Handle, interval: Duration, end: &Receiver<()>) {
    while end.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
        if handle.turns_within(interval) {
            tell(State::Watchdog);
        } else {
            warn!("an event loop has not answered within {interval:?}: the supervisor is not told that we live");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_asks_and_only_its_own_dog() {
        let (ours, other) = (process::id().to_string(), (process::id() + 1).to_string());
        let second = Some(Duration::from_secs(1));
        for (usec, pid, expected) in [
            (Some("2000000"), None, second),
            (Some("2000000"), Some(ours.as_str()), second),
            (Some("2000000"), Some(other.as_str()), None),
            (Some("0"), None, None),
            (Some("soon"), None, None),
            (None, Some(ours.as_str()), None),
        ] {
            assert_eq!(interval(usec, pid), expected, "{usec:?} {pid:?}");
        }
    }
}

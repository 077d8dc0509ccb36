//! Waking up in time. mio's poll counts whole milliseconds, so it is woken by a `timerfd` in the same poll, which a thread that
//! sleeps hears some 20 µs late; with [`Pace::Spin`] the timer is set short of the time, and the rest is polled without sleeping.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    time::Duration,
};

use mio::unix::SourceFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use super::plan::Pace;
use crate::{client::Client, session::Handler};

/// How long before the time the spinning begins: longer than nearly every wake-up takes.
const SPIN: u64 = 60_000;
/// Descriptors that are kept free of connections.
const SPARE: usize = 4;
/// The longest sleep: signals and deadlines are looked at in between.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// A timer in a client's poll.
#[derive(Debug)]
pub(super) struct Pacer {
    timer: OwnedFd,
    pace: Pace,
    /// What the timer is set to.
    armed: Option<u64>,
}

impl Pacer {
    pub(super) fn new<H: Handler>(pace: Pace, client: &Client<H>) -> io::Result<Pacer> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        client.watch(&mut SourceFd(&timer.as_raw_fd()))?;
        Ok(Pacer { timer, pace, armed: None })
    }

    /// Takes some descriptors, for as long as the value lives: when connections have taken all others, those are left for looking into
    /// `/proc`.
    pub(super) fn reserve(&self) -> io::Result<[OwnedFd; SPARE]> {
        let another = || self.timer.try_clone();
        Ok([another()?, another()?, another()?, another()?])
    }

    /// How long the poll may sleep so as to be awake at `next`; the timer is set for it. Both times by the same clock, in nanoseconds.
    pub(super) fn sleep(&mut self, next: u64, now: u64) -> io::Result<Duration> {
        let early = if self.pace == Pace::Spin { SPIN } else { 0 };
        let wake = next.saturating_sub(early);
        if wake <= now {
            return Ok(Duration::ZERO);
        }
        if self.armed != Some(wake) {
            let left = wake - now;
            let value = Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
            // Setting it forgets an expiry that nobody has read: the poll's edge is all that is wanted of one.
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
            self.armed = Some(wake);
        }
        Ok(SLEEP_MAX)
    }
}

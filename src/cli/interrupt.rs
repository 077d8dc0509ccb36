//! Ctrl-C for a client: the first ends it in order, the second at once.

use std::{
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::{Handle, Signals},
};

use super::error::Error;

/// What a shell reports of a program that Ctrl-C ended.
pub(super) const EXIT_INTERRUPTED: i32 = 130;

/// Watches for INT and TERM as long as it lives.
#[derive(Debug)]
pub(super) struct Interrupt {
    seen: Arc<AtomicBool>,
    signals: Handle,
}

impl Interrupt {
    /// From now on; a signal ends the wait of the loop with this waker.
    pub(super) fn watch(waker: Arc<mio::Waker>) -> Result<Interrupt, Error> {
        Self::begin(Some(waker))
    }

    /// From now on, for those who look often enough by themselves.
    pub(super) fn note() -> Result<Interrupt, Error> {
        Self::begin(None)
    }

    fn begin(waker: Option<Arc<mio::Waker>>) -> Result<Interrupt, Error> {
        let fail = |source| Error::System { doing: "watch for signals", source };
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(fail)?;
        let (seen, handle) = (Arc::new(AtomicBool::new(false)), signals.handle());
        let flag = seen.clone();
        thread::Builder::new()
            .name("wslab-signals".to_owned())
            .spawn(move || {
                for _ in signals.forever() {
                    if flag.swap(true, Ordering::Relaxed) {
                        process::exit(EXIT_INTERRUPTED);
                    }
                    if let Some(waker) = &waker {
                        let _ = waker.wake();
                    }
                }
            })
            .map_err(fail)?;
        Ok(Interrupt { seen, signals: handle })
    }

    /// Whether a signal has come.
    pub(super) fn seen(&self) -> bool {
        self.seen.load(Ordering::Relaxed)
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.signals.close();
    }
}

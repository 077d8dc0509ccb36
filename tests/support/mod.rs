//! What all tests need: the server as a process, a client that knows frames and no more, and tables of conversations.

pub(crate) mod client;
pub(crate) mod http;
pub(crate) mod process;
pub(crate) mod scrape;
pub(crate) mod table;
pub(crate) mod wire;

use std::{thread, time::Duration};

/// How long anything may take that should happen at once. Long, because a test machine may be busy; a test that waits
/// this long fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Does the same for all of them side by side: for tests that mostly wait.
pub(crate) fn at_once<T: Send>(all: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    thread::scope(|scope| {
        for one in all {
            scope.spawn(|| test(one));
        }
    });
}

/// Lets this process have as many descriptors as the system allows; returns how many.
pub(crate) fn raise_open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

//! File descriptors: every connection takes one, and the usual soft limit (1,024) is far below `connections_max`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{error::reason, options::Options};

/// For listeners, pollers, timers, logs and files, per worker.
const OWN: u64 = 64;

/// Raises the soft limit as far as the connections need and the hard limit allows; what is short is returned as a warning.
pub(super) fn make_room(options: &Options) -> Option<String> {
    raise_to(needed(options), "--connections-max")
}

/// The same for so many connections of a client.
pub(super) fn make_room_for(connections: usize) -> Option<String> {
    raise_to(OWN.saturating_add(connections as u64), "--connections")
}

fn raise_to(needed: u64, flag: &str) -> Option<String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is `None`.
    let current = current.filter(|&current| current < needed)?;
    let reached = maximum.map_or(needed, |maximum| maximum.min(needed));
    if reached > current
        && let Err(errno) = setrlimit(Resource::Nofile, Rlimit { current: Some(reached), maximum })
    {
        return Some(format!(
            "cannot raise the limit of open files from {current} to {reached}: {}",
            reason(&errno.into())
        ));
    }
    (reached < needed).then(|| {
        format!("the system allows {reached} open files and {needed} may be needed: raise it with `ulimit -Hn {needed}`, or lower {flag}")
    })
}

fn needed(options: &Options) -> u64 {
    OWN.saturating_mul(options.workers as u64).saturating_add(options.server.connections_max as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_need_one_each_and_every_worker_a_few_of_its_own() {
        let mut options = Options { workers: 4, ..Options::default() };
        options.server.connections_max = 1000;
        assert_eq!(needed(&options), 1256);
    }

    #[test]
    fn what_no_system_allows_is_warned_of() {
        let mut options = Options::default();
        options.server.connections_max = usize::MAX;
        let before = getrlimit(Resource::Nofile);
        if before.maximum.is_some() {
            assert!(make_room(&options).unwrap().contains("--connections-max"));
        }
    }
}

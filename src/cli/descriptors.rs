//! File descriptors: every connection takes one, and the usual soft limit (1,024) is far below `connections_max`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    error::{Error, reason},
    options::Options,
};

/// For listeners, pollers, timers, logs, files and the admin address's clients, per worker.
const OWN: u64 = 64;
/// Of these, for connections that are told that there is no room, where nothing is left for more of them.
const TOLD_MIN: u64 = 8;

/// The kernel's table of open files is made so large at most beforehand, 8 octets each; beyond it grows as it is used.
const TABLE_MAX: u64 = 1 << 20;

/// How many connections the limit leaves room for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// `connections_max`, or fewer where the system allows no more.
    pub connections_max: usize,
    /// `turned_away_max`, or fewer.
    pub turned_away_max: usize,
    /// Where fewer connections are served: why, and what to do.
    pub warning: Option<String>,
}

/// Raises the soft limit as far as the connections need and the hard limit allows; where that is not enough, there are fewer.
///
/// # Errors
/// There would be none.
pub(super) fn make_room(options: &Options) -> Result<Room, Error> {
    let (files, why) = raise_to(needed(options));
    make_table(needed(options).min(files));
    room(options, files, why)
}

/// The same for so many connections of a client; what is short is returned as a warning.
pub(super) fn make_room_for(connections: usize) -> Option<String> {
    let needed = OWN.saturating_add(connections as u64);
    let (files, why) = raise_to(needed);
    make_table(needed.min(files));
    (files < needed).then(|| {
        let why = why.unwrap_or_else(|| format!("the system allows {files} open files"));
        format!("{why}, and {needed} may be needed: raise it with `ulimit -Hn {needed}`, or lower --connections")
    })
}

/// How many files may be open now, and why not as many as are needed, where it is not the hard limit.
fn raise_to(needed: u64) -> (u64, Option<String>) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is `None`.
    let Some(current) = current.filter(|&current| current < needed) else { return (u64::MAX, None) };
    let reached = maximum.map_or(needed, |maximum| maximum.min(needed));
    if reached > current
        && let Err(errno) = setrlimit(Resource::Nofile, Rlimit { current: Some(reached), maximum })
    {
        let why =
            format!("cannot raise the limit of open files from {current} to {reached}: {}", reason(&errno.into()));
        return (current, Some(why));
    }
    (reached, None)
}

/// Has the kernel make its table of open files now. Else it doubles while connections are accepted, at 256, 512, 1,024 and so on, and in
/// a process with several threads waits each time until no CPU looks at the old one: the loop stood still for 7 to 20 ms. To be called
/// before there are threads: then it takes no time.
fn make_table(files: u64) {
    // The last place that is needed, for a moment. Whatever is wrong with that, the table grows by itself.
    if let Ok(last) = i32::try_from(files.min(TABLE_MAX).saturating_sub(1)) {
        drop(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), last));
    }
}

/// What is left of so many files.
fn room(options: &Options, files: u64, why: Option<String>) -> Result<Room, Error> {
    let workers = options.workers as u64;
    let own = OWN.saturating_mul(workers);
    let why = why.unwrap_or_else(|| format!("the system allows {files} open files"));
    let least = own.saturating_add(workers);
    if files < least {
        return Err(Error::OpenFiles(format!(
            "{why}, and {least} are the least, {OWN} and a connection a worker: raise it with `ulimit -Hn {}`{}",
            needed(options),
            if workers > 1 { ", or lower --workers" } else { "" }
        )));
    }
    let left = files - own;
    let wanted = options.server.connections_max;
    let connections_max = wanted.min(usize::try_from(left).unwrap_or(usize::MAX));
    let warning = (connections_max < wanted).then(|| {
        format!(
            "{why}: {connections_max} connections are served at once instead of {wanted}; raise it with `ulimit -Hn {}`, or lower --connections-max",
            needed(options)
        )
    });
    // A share of the files that are kept for ourselves, and what nobody else takes.
    let told = TOLD_MIN.saturating_mul(workers).saturating_add(left - connections_max as u64);
    let turned_away_max = options.server.turned_away_max;
    let told_max = turned_away_max.saturating_mul(options.workers);
    Ok(Room { connections_max, turned_away_max: told_max.min(usize::try_from(told).unwrap_or(usize::MAX)), warning })
}

/// With room for those who are told that there is none: they must not take the place of certificates and of the admin address.
fn needed(options: &Options) -> u64 {
    let loops = (OWN + options.server.turned_away_max as u64).saturating_mul(options.workers as u64);
    loops.saturating_add(options.server.connections_max as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_need_one_each_and_every_worker_a_few_of_its_own() {
        let mut options = Options { workers: 4, ..Options::default() };
        options.server.connections_max = 1000;
        // And those who are told that there is no room, who must not take the place of files and of the admin address.
        assert_eq!(needed(&options), 1000 + 4 * (64 + 256));
    }

    #[test]
    fn what_no_system_allows_is_warned_of_and_lowered() {
        let mut options = Options::default();
        options.server.connections_max = usize::MAX;
        let before = getrlimit(Resource::Nofile);
        if let Some(maximum) = before.maximum {
            let Room { connections_max, warning, .. } = make_room(&options).unwrap();
            assert_eq!(connections_max as u64, maximum - OWN);
            assert!(warning.unwrap().contains("--connections-max"));
        }
    }

    #[test]
    fn the_limit_less_a_few_is_what_connections_get() {
        let options = Options { workers: 2, ..Options::default() };
        for (files, connections_max, turned_away_max) in [
            (u64::MAX, 10_000, 512),
            (10_640, 10_000, 512),
            (10_639, 10_000, 512),
            (10_228, 10_000, 116),
            (10_128, 10_000, 16),
            (10_127, 9_999, 16),
            (1_024, 896, 16),
            (130, 2, 16),
        ] {
            let Room { connections_max: served, turned_away_max: told, warning } = room(&options, files, None).unwrap();
            assert_eq!((served, told), (connections_max, turned_away_max), "{files} files");
            assert_eq!(warning.is_some(), connections_max < 10_000, "{files} files");
        }
    }

    #[test]
    fn too_few_files_for_one_connection_a_worker_are_refused() {
        for (workers, files, words) in [
            (
                1,
                64,
                "the system allows 64 open files, and 65 are the least, 64 and a connection a worker: raise it with `ulimit -Hn 10320`",
            ),
            (
                2,
                129,
                "and 130 are the least, 64 and a connection a worker: raise it with `ulimit -Hn 10640`, or lower --workers",
            ),
            (1, 0, "the system allows 0 open files"),
        ] {
            let error = room(&Options { workers, ..Options::default() }, files, None).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            assert_eq!(error.exit_code(), 3);
        }
    }
}

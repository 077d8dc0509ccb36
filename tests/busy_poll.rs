//! `--busy-poll`: the loop looks again before it sleeps, sleeps all the same once nothing comes, and misses no deadline meanwhile.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::support::{at_once, process::Serve};

/// How long the process's threads have run, or would have if there had been a core for them.
fn runnable(server: &Serve) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process.pid())).unwrap();
    let nanos = tasks.map(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        stat.split(' ').take(2).map(|nanos| nanos.parse::<u64>().unwrap()).sum::<u64>()
    });
    Duration::from_nanos(nanos.sum())
}

#[test]
fn a_loop_that_busy_polls_still_sleeps_when_nothing_comes() {
    let server = Serve::start(&["--busy-poll", "500us"]);
    at_once(server.doors(), |door| door.open().expect_echo("busy"));
    let (before, span) = (runnable(&server), Duration::from_millis(400));
    // Nothing happens on purpose.
    std::thread::sleep(span);
    let used = runnable(&server) - before;
    assert!(used < span / 4, "runnable for {used:?} of {span:?} of silence");
}

#[test]
fn a_loop_that_never_stops_looking_keeps_its_deadlines() {
    let server = Serve::start(&["--busy-poll", "1m", "--handshake-timeout", "300ms"]);
    let before = runnable(&server);
    let begin = Instant::now();
    let mut late = server.ws().connect();
    server.ws().open().expect_echo("busy");
    assert_eq!(late.response().status, 408);
    late.expect_end();
    assert!(begin.elapsed() >= Duration::from_millis(280), "{:?}", begin.elapsed());
    let used = runnable(&server) - before;
    assert!(used > begin.elapsed() / 2, "it slept: runnable for {used:?} of {:?}", begin.elapsed());
}

//! `--busy-poll`: the loop looks again before it sleeps, sleeps all the same once nothing comes, and misses no deadline meanwhile.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::support::{at_once, process::Serve};

/// CPU time of all threads of the process.
fn cpu(server: &Serve) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process.pid())).unwrap();
    let nanos = tasks.map(|task| {
        let stat = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
        stat.split(' ').next().unwrap().parse::<u64>().unwrap()
    });
    Duration::from_nanos(nanos.sum())
}

#[test]
fn a_loop_that_busy_polls_still_sleeps_when_nothing_comes() {
    let server = Serve::start(&["--busy-poll", "500us"]);
    at_once(server.doors(), |door| door.open().expect_echo("busy"));
    let (before, span) = (cpu(&server), Duration::from_millis(400));
    // Nothing happens on purpose.
    std::thread::sleep(span);
    let used = cpu(&server) - before;
    assert!(used < span / 4, "{used:?} of CPU in {span:?} of silence");
}

#[test]
fn a_loop_that_never_stops_looking_keeps_its_deadlines() {
    let server = Serve::start(&["--busy-poll", "1m", "--handshake-timeout", "300ms"]);
    let before = cpu(&server);
    let begin = Instant::now();
    let mut late = server.ws().connect();
    server.ws().open().expect_echo("busy");
    assert_eq!(late.response().status, 408);
    late.expect_end();
    assert!(begin.elapsed() >= Duration::from_millis(280), "{:?}", begin.elapsed());
    let used = cpu(&server) - before;
    // On a machine that is busy with other things a loop gets part of a core only.
    assert!(used > Duration::from_millis(60), "it did not look: {used:?} of CPU in {:?}", begin.elapsed());
}

//! The load generator against servers that behave in a known way, and `wslab bench` as a shell runs it.
//!
//! What is asserted of times has wide margins: the machine may be busy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/peer.rs"]
mod peer;
#[allow(dead_code, reason = "shared with the other black-box tests")]
mod support;

mod bench_command;
mod bench_measures;
mod bench_trouble;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use wslab::{
    bench::{
        Endpoint, Measured, Observer, Plan, Progress,
        plan::{Phase, Span},
        sweep,
    },
    client::{self, Target},
};

use peer::{Peer, With, echo};

/// A listener that does this with each of its connections, on a thread for each.
fn stranger(act: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let act = act.clone();
            thread::spawn(move || act(socket));
        }
    });
    addr
}

/// Looks on, and interrupts when told to.
struct Onlooker<F>(F);

impl<F: Fn() -> bool> Observer for Onlooker<F> {
    fn interrupted(&self) -> bool {
        (self.0)()
    }
    fn begins(&mut self, _: usize, _: &Phase, _: usize) {}
    fn progress(&mut self, _: &Progress) {}
}

fn number(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// One connection, one message under way, 64 octets, for half a second.
fn plan() -> Plan {
    Plan { span: Span::Time(Duration::from_millis(500)), ..Plan::default() }
}

fn endpoint(url: &str) -> Endpoint {
    let target = Target::resolve(&url.parse().unwrap(), Duration::from_secs(10)).unwrap();
    Endpoint { target, config: client::Config::default(), process: None, metrics: None }
}

/// What the only piece of this plan measures there.
fn measure(plan: &Plan, url: &str) -> Measured {
    plan.judge().unwrap();
    let mut onlooker = Onlooker(|| false);
    let parts = sweep(plan, &[endpoint(url)], ToString::to_string, &mut onlooker, &mut |_| false).unwrap();
    assert_eq!(parts.len(), 1);
    parts.into_iter().next().unwrap().measured
}

/// Does this on one core, beside so many threads that never sleep there. A process that it starts stays on that core.
fn starved<T>(spinners: usize, act: impl FnOnce() -> T) -> T {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let all = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::MAX_CPU).find(|&core| all.is_set(core)).unwrap());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..spinners {
            scope.spawn(|| {
                sched_setaffinity(None, &one).unwrap();
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        sched_setaffinity(None, &one).unwrap();
        let made = catch_unwind(AssertUnwindSafe(act));
        done.store(true, Ordering::Relaxed);
        sched_setaffinity(None, &all).unwrap();
        made.unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

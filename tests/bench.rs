//! The load generator against servers that behave in a known way, and `wslab bench` as a shell runs it.
//!
//! What is asserted of times has wide margins: the machine may be busy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "shared with the other black-box tests")]
mod support;

mod bench_command;
mod bench_measures;
mod bench_trouble;

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    num::NonZeroUsize,
    thread,
    time::Duration,
};

use wslab::{
    bench::{
        Endpoint, Measured, Observer, Payload, Plan, Progress,
        plan::{Load, Phase, Scenario, Span},
        sweep,
    },
    client::{self, Target},
    proto::{Message, Sender},
    server::{self, Server},
    session::{ConnId, Handler},
};

/// A server with this application on a thread; it ends with the value.
struct Peer {
    addr: SocketAddr,
    handle: server::Handle,
}

impl Peer {
    fn start(handler: impl Handler + Send + 'static) -> Peer {
        let config =
            server::Config { listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))], ..server::Config::default() };
        let server = Server::bind(&config, handler).unwrap();
        let peer = Peer { addr: server.local_addrs()[0], handle: server.handle() };
        thread::spawn(move || server.run());
        peer
    }

    fn url(&self) -> String {
        format!("ws://{}/ws", self.addr)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

/// Does this with every message.
struct With<F>(F);

impl<F: FnMut(Message<'_>, Sender<'_>)> Handler for With<F> {
    fn on_message(&mut self, _: ConnId, message: Message<'_>, sender: Sender<'_>) {
        (self.0)(message, sender);
    }
}

fn echo() -> impl Handler + Send {
    With(|message: Message<'_>, mut sender: Sender<'_>| {
        let _ = sender.reply(message);
    })
}

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
    Plan {
        scenario: Scenario::Echo,
        load: Load::Closed { pipeline: number(1) },
        connections: vec![number(1)],
        payloads: vec![Payload::random(64, false, 1)],
        span: Span::Time(Duration::from_millis(500)),
        warmup: Duration::ZERO,
        timeout: Duration::from_secs(10),
        rounds: number(1),
        seed: 1,
        check: true,
        fragment: None,
    }
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

fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

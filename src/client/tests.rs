//! Over real loopback sockets, with our own server as the peer, or one that misbehaves.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Client, Config, OpenError, Target};
use crate::{
    proto::{CloseCode, Closure, Message, Sender, Settings, Timeouts, Wait, handshake::Opened},
    server::{self, Echo, Server},
    session::{ConnId, Handler},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// What came of each connection.
#[derive(Default)]
struct Record {
    opened: usize,
    messages: Vec<Vec<u8>>,
    pongs: Vec<Vec<u8>>,
    closed: Vec<Closure>,
    failed: Vec<Closure>,
    errors: Vec<String>,
}

impl Handler for Record {
    fn on_open(&mut self, _: ConnId, _: &Opened, _: Sender<'_>) {
        self.opened += 1;
    }
    fn on_message(&mut self, _: ConnId, message: Message<'_>, _: Sender<'_>) {
        self.messages.push(message.payload().to_vec());
    }
    fn on_pong(&mut self, _: ConnId, payload: &[u8], _: Sender<'_>) {
        self.pongs.push(payload.to_vec());
    }
    fn on_close(&mut self, _: ConnId, closure: &Closure) {
        self.closed.push(closure.clone());
    }
    fn on_failed(&mut self, _: ConnId, closure: &Closure) {
        self.failed.push(closure.clone());
    }
    fn on_error(&mut self, _: ConnId, error: &io::Error) {
        self.errors.push(error.to_string());
    }
}

/// A server on a thread, and its end.
struct Peer {
    addr: SocketAddr,
    handle: server::Handle,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Peer {
    fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Peer {
        let any = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        let (listen, listen_tls) = if tls.is_some() { (Vec::new(), any) } else { (any, Vec::new()) };
        let config = server::Config { listen, listen_tls, tls, ..server::Config::default() };
        let server = Server::bind(&config, Echo).unwrap();
        let addr = server.local_addrs().into_iter().chain(server.local_addrs_tls()).next().unwrap();
        let handle = server.handle();
        Peer { addr, handle, thread: Some(thread::spawn(move || server.run())) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A listener that does this with its first connection, on a thread.
fn stranger(act: impl FnOnce(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || act(listener.accept().unwrap().0));
    addr
}

fn target(url: &str) -> Target {
    Target::resolve(&url.parse().unwrap(), PATIENCE).unwrap()
}

fn client(config: &Config) -> Client<Record> {
    Client::new(config, Record::default()).unwrap()
}

fn turn_until(client: &mut Client<Record>, done: impl Fn(&Record) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(client.handler()) {
        assert!(Instant::now() < deadline, "nothing more happens");
        client.turn(Some(Duration::from_millis(100))).unwrap();
    }
}

fn impatient(handshake: Duration) -> Config {
    let timeouts = Timeouts { handshake, ..Timeouts::default() };
    Config { settings: Settings { timeouts, ..Settings::default() }, ..Config::default() }
}

#[test]
fn a_connection_opens_talks_and_closes() {
    let peer = Peer::start(None);
    let mut client = client(&Config::default());
    let id = client.open(&target(&format!("ws://{}/ws", peer.addr))).unwrap();
    turn_until(&mut client, |record| record.opened == 1);
    let timeline = *client.timeline(id).unwrap();
    assert!(timeline.connected.unwrap() >= timeline.begun && timeline.secured.is_none());
    assert_eq!(timeline.addr, peer.addr);
    client.with_sender(id, |mut sender| {
        sender.text("hello").unwrap();
        sender.ping(b"there").unwrap();
        sender.binary(&vec![7; 1 << 20]).unwrap();
    });
    turn_until(&mut client, |record| record.messages.len() == 2);
    assert_eq!(client.handler().pongs, [b"there"]);
    assert_eq!(client.handler().messages, [b"hello".to_vec(), vec![7; 1 << 20]]);
    client.with_sender(id, |mut sender| sender.close(CloseCode::NORMAL, "").unwrap()).unwrap();
    assert!(client.run_until(Instant::now() + PATIENCE).unwrap());
    assert_eq!(client.handler().closed, [Closure::Local { code: Some(CloseCode::NORMAL) }]);
    assert!(client.with_sender(id, |_| ()).is_none());
    assert!(client.handler().failed.is_empty() && client.handler().errors.is_empty());
}

#[test]
fn a_thousand_connections_on_one_loop_echo() {
    const CONNECTIONS: usize = 1000;
    const ROUNDS: usize = 5;
    let peer = Peer::start(None);
    let target = target(&format!("ws://{}/ws", peer.addr));
    let mut client = client(&Config::default());
    let ids: Vec<ConnId> = (0..CONNECTIONS).map(|_| client.open(&target).unwrap()).collect();
    turn_until(&mut client, |record| record.opened == CONNECTIONS);
    for round in 0..ROUNDS {
        for (n, id) in ids.iter().enumerate() {
            let text = format!("{round} {n}");
            client.with_sender(*id, |mut sender| sender.text(&text).unwrap()).unwrap();
        }
        turn_until(&mut client, |record| record.messages.len() == (round + 1) * CONNECTIONS);
    }
    let mut heard = std::mem::take(&mut client.handler_mut().messages);
    let mut said: Vec<Vec<u8>> =
        (0..ROUNDS).flat_map(|round| (0..CONNECTIONS).map(move |n| format!("{round} {n}").into_bytes())).collect();
    heard.sort();
    said.sort();
    assert_eq!(heard, said);
    for id in ids {
        client.with_sender(id, |mut sender| sender.close(CloseCode::NORMAL, "").unwrap()).unwrap();
    }
    assert!(client.run_until(Instant::now() + PATIENCE).unwrap());
    assert_eq!(client.handler().closed.len(), CONNECTIONS);
}

#[test]
fn a_closed_port_is_refused_and_the_next_address_is_tried() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut client = client(&Config::default());
    client.open(&target(&format!("ws://{closed}/"))).unwrap();
    assert!(client.run_until(Instant::now() + PATIENCE).unwrap());
    let record = std::mem::take(client.handler_mut());
    assert_eq!((record.opened, record.closed.len(), record.failed), (0, 0, vec![Closure::Eof]));
    assert!(record.errors[0].contains("refused"), "{:?}", record.errors);

    // "localhost" may be ::1 and 127.0.0.1; the server is at one of them only.
    let peer = Peer::start(None);
    client.open(&target(&format!("ws://localhost:{}/", peer.addr.port()))).unwrap();
    turn_until(&mut client, |record| record.opened == 1);
}

#[test]
fn a_server_that_never_answers_is_given_up_at_the_handshakes_deadline() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let addr = stranger(move |socket| {
        let _ = held.recv();
        drop(socket);
    });
    let mut client = client(&impatient(Duration::from_millis(300)));
    let begun = Instant::now();
    client.open(&target(&format!("ws://{addr}/"))).unwrap();
    assert!(client.run_until(Instant::now() + PATIENCE).unwrap());
    assert_eq!(client.handler().failed, [Closure::TimedOut(Wait::Handshake)]);
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(300) && took < Duration::from_secs(5), "{took:?}");
    drop(hold);
}

#[test]
fn a_refused_upgrade_is_told_with_its_status() {
    let addr = stranger(|mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"HTTP/1.1 403 Go away\r\nContent-Length: 0\r\n\r\n");
    });
    let mut client = client(&Config::default());
    client.open(&target(&format!("ws://{addr}/"))).unwrap();
    assert!(client.run_until(Instant::now() + PATIENCE).unwrap());
    let failed = client.handler().failed[0].to_string();
    assert_eq!(failed, "not opened: the server answered 403 Go away instead of 101");
}

#[test]
fn an_answer_that_is_no_head_fails_and_is_not_answered() {
    let (tell, told) = std::sync::mpsc::channel();
    let addr = stranger(move |mut socket| {
        let _ = socket.read(&mut [0; 4096]);
        let _ = socket.write_all(b"\x15\x03\x03\x00\x02\x02\x32");
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        let _ = tell.send(rest);
    });
    let mut client = client(&Config::default());
    client.open(&target(&format!("ws://{addr}/"))).unwrap();
    assert!(client.run_until(Instant::now() + PATIENCE).unwrap());
    let failed = client.handler().failed[0].to_string();
    assert!(failed.starts_with("not opened: the response is malformed: "), "{failed}");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), b"");
}

#[test]
fn aborting_tells_the_handler_at_once() {
    let peer = Peer::start(None);
    let mut client = client(&Config::default());
    let target = target(&format!("ws://{}/", peer.addr));
    let id = client.open(&target).unwrap();
    client.abort(id);
    assert_eq!((client.handler().failed.len(), client.len()), (1, 0));
    let id = client.open(&target).unwrap();
    turn_until(&mut client, |record| record.opened == 1);
    client.abort(id);
    assert_eq!((client.handler().closed.len(), client.len()), (1, 0));
}

/// What the loop tells, in its order.
#[derive(Default)]
struct Order(Vec<&'static str>);

impl Handler for Order {
    fn on_read(&mut self, _: ConnId) {
        self.0.push("read");
    }
    fn on_write(&mut self, _: ConnId) {
        self.0.push("write");
    }
    fn on_open(&mut self, _: ConnId, _: &Opened, mut sender: Sender<'_>) {
        self.0.push("open");
        for text in ["one", "two"] {
            sender.text(text).unwrap();
        }
    }
    fn on_message(&mut self, _: ConnId, _: Message<'_>, _: Sender<'_>) {
        self.0.push("message");
    }
}

#[test]
fn a_handler_hears_of_a_read_before_what_it_brought_and_of_a_write_before_it() {
    let peer = Peer::start(None);
    let mut client = Client::new(&Config::default(), Order::default()).unwrap();
    client.open(&target(&format!("ws://{}/", peer.addr))).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while client.handler().0.iter().filter(|told| **told == "message").count() < 2 {
        assert!(Instant::now() < deadline, "{:?}", client.handler().0);
        client.turn(Some(Duration::from_millis(100))).unwrap();
    }
    // Both messages left in one write; their echoes came in one read, or in two.
    let told = client.handler().0.join(" ");
    let expected = ["write read open write read message message", "write read open write read message read message"];
    assert!(expected.contains(&told.as_str()), "{told}");
}

#[test]
fn a_source_of_the_owners_ends_the_wait() {
    let (mut sender, mut receiver) = mio::unix::pipe::new().unwrap();
    let mut client = client(&Config::default());
    client.watch(&mut receiver).unwrap();
    sender.write_all(b"now").unwrap();
    let begun = Instant::now();
    client.turn(Some(PATIENCE)).unwrap();
    assert!(begun.elapsed() < PATIENCE, "nothing ended the wait");
}

#[test]
fn connections_come_from_the_sources_in_turn() {
    let peer = Peer::start(None);
    let sources = vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()];
    let mut client = client(&Config { sources, ..Config::default() });
    let target = target(&format!("ws://{}/", peer.addr));
    let ids: Vec<_> = (0..4).map(|_| client.open(&target).unwrap()).collect();
    turn_until(&mut client, |record| record.opened == 4);
    let from: Vec<String> =
        ids.iter().map(|id| client.socket(*id).unwrap().local_addr().unwrap().ip().to_string()).collect();
    assert_eq!(from, ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"]);
    let begun = Client::new(&Config { sources: vec!["192.0.2.1".parse().unwrap()], ..Config::default() }, Echo)
        .unwrap()
        .open(&target);
    assert!(matches!(begun, Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::AddrNotAvailable));
}

#[test]
fn wss_without_a_configuration_is_not_begun() {
    let begun = client(&Config::default()).open(&target("wss://127.0.0.1:1/"));
    assert!(matches!(begun, Err(OpenError::NoTls)));
}

/// Certificates need rcgen.
#[cfg(feature = "cli")]
mod wss {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::pki_types::CertificateDer;

    use super::*;
    use crate::net::{Trust, client_config, server_config};

    /// A server's configuration for these names, and its root.
    fn identity(names: &[&str], expired: bool) -> (Arc<rustls::ServerConfig>, CertificateDer<'static>) {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, format!("the authority for {names:?}"));
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let mut leaf = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        if expired {
            leaf.not_after = rcgen::date_time_ymd(2001, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &ca).unwrap();
        let server = server_config(vec![leaf.der().clone()], key.into()).unwrap();
        (server, ca.der().clone())
    }

    fn trusting(roots: &[CertificateDer<'static>]) -> Config {
        Config { tls: Some(client_config(Trust::Roots(roots.to_vec())).unwrap()), ..Config::default() }
    }

    /// The first error's text, or that it opened.
    fn attempt(config: &Config, url: &str) -> String {
        let mut client = client(config);
        let id = client.open(&target(url)).unwrap();
        turn_until(&mut client, |record| record.opened + record.failed.len() > 0);
        if client.handler().opened == 1 {
            let timeline = client.timeline(id).unwrap();
            assert!(timeline.secured.unwrap() > timeline.connected.unwrap());
            client.with_sender(id, |mut sender| sender.text("over TLS").unwrap());
            turn_until(&mut client, |record| record.messages == [b"over TLS"]);
            client.with_sender(id, |mut sender| sender.close(CloseCode::NORMAL, "").unwrap());
            assert!(client.run_until(Instant::now() + PATIENCE).unwrap());
            return "opened".to_owned();
        }
        client.handler().errors.first().cloned().unwrap_or_default()
    }

    #[test]
    fn a_certificate_is_checked_against_its_root_its_name_and_its_time() {
        let (server, root) = identity(&["localhost", "127.0.0.1"], false);
        let (_, other_root) = identity(&["localhost"], false);
        let peer = Peer::start(Some(server));
        let (by_address, by_name) =
            (format!("wss://{}/wss", peer.addr), format!("wss://localhost:{}/wss", peer.addr.port()));
        let trusting_it = trusting(std::slice::from_ref(&root));
        assert_eq!(attempt(&trusting_it, &by_address), "opened");
        assert_eq!(attempt(&trusting_it, &by_name), "opened");
        let said = attempt(&trusting(&[other_root]), &by_name);
        assert!(said.contains("UnknownIssuer"), "{said}");
        let anyone = Config { tls: Some(client_config(Trust::Anyone).unwrap()), ..Config::default() };
        assert_eq!(attempt(&anyone, &by_name), "opened");

        let (server, root) = identity(&["elsewhere.example"], false);
        let peer = Peer::start(Some(server));
        let said = attempt(&trusting(&[root]), &format!("wss://{}/", peer.addr));
        assert!(said.contains("not valid for name"), "{said}");

        let (server, root) = identity(&["127.0.0.1"], true);
        let peer = Peer::start(Some(server));
        let said = attempt(&trusting(&[root]), &format!("wss://{}/", peer.addr));
        assert!(said.contains("expired"), "{said}");
    }

    #[test]
    fn a_plain_server_is_not_taken_for_a_tls_one() {
        let peer = Peer::start(None);
        let (_, root) = identity(&["127.0.0.1"], false);
        let said = attempt(&trusting(&[root]), &format!("wss://{}/", peer.addr));
        assert!(said.contains("does not speak TLS"), "{said}");
    }
}

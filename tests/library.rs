//! What the library promises to an application, over real sockets: who is told of an end, and how often.

use std::{
    collections::HashMap,
    io::Write,
    net::SocketAddr,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rustls::pki_types::PrivateKeyDer;
use wslab::{
    client::{self, Client, Target},
    net::{Trust, client_config},
    proto::{Closure, Message, Sender, Settings, Timeouts, handshake::Opened},
    server::{Config, Echo, Server},
    session::{ConnId, Handler},
};

use crate::support::{PATIENCE, client::Door, http::UPGRADE, wire::PEER};

/// What was told of each connection: opened, closed, failed.
type Told = Arc<Mutex<HashMap<ConnId, (usize, usize, usize)>>>;

#[derive(Clone, Default)]
struct Count(Told);

impl Count {
    fn with(&self, id: ConnId, count: impl FnOnce(&mut (usize, usize, usize))) {
        count(self.0.lock().unwrap().entry(id).or_default());
    }

    fn wait_for(&self, is_there: impl Fn(&HashMap<ConnId, (usize, usize, usize)>) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_there(&self.0.lock().unwrap()) {
            assert!(Instant::now() < deadline, "{:?}", self.0.lock().unwrap());
            thread::yield_now();
        }
    }
}

impl Handler for Count {
    fn on_open(&mut self, id: ConnId, _: &Opened, _: Sender<'_>) {
        self.with(id, |told| told.0 += 1);
    }

    fn on_message(&mut self, _: ConnId, message: Message<'_>, mut sender: Sender<'_>) {
        let _ = sender.reply(message);
    }

    fn on_close(&mut self, id: ConnId, _: &Closure) {
        self.with(id, |told| told.1 += 1);
    }

    fn on_failed(&mut self, id: ConnId, _: &Closure) {
        self.with(id, |told| told.2 += 1);
    }
}

#[test]
fn every_connection_has_one_end_at_a_stop_and_when_a_drain_has_waited_enough() {
    for is_drain in [false, true] {
        let count = Count::default();
        let config = Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            grace: Duration::from_millis(200),
            settings: Settings {
                timeouts: Timeouts { close: Duration::from_secs(60), ..Timeouts::default() },
                ..Settings::default()
            },
            ..Config::default()
        };
        let server = Server::bind(&config, count.clone()).unwrap();
        let (addr, handle) = (server.local_addrs()[0], server.handle());
        let running = thread::spawn(move || server.run());
        let door = Door::ws(addr);
        // In its opening handshake; idle; closed by itself and gone; closed by itself and lingering; stuck with a queue.
        let mut opening = door.tcp();
        opening.write_all(&UPGRADE.as_bytes()[..50]).unwrap();
        let _idle: Vec<_> = (0..3).map(|_| door.open()).collect();
        let mut gone = door.open();
        gone.send(&PEER.close(1000));
        gone.rest();
        drop(gone);
        let mut lingering = door.open();
        lingering.send(&PEER.close(1000));
        lingering.rest();
        let mut stuck = door.open();
        stuck.tcp().set_write_timeout(Some(Duration::from_millis(50))).unwrap();
        let message = PEER.binary(&vec![7; 1 << 20]);
        while stuck.try_send(&message).is_ok() {}
        count.wait_for(|told| told.len() == 6 && told.values().filter(|told| told.1 == 1).count() == 2);
        if is_drain {
            handle.drain();
        } else {
            handle.stop();
        }
        running.join().unwrap().unwrap();
        let told = count.0.lock().unwrap();
        let opened: Vec<_> = told.values().filter(|told| told.0 == 1).collect();
        assert_eq!(opened.len(), 6, "drain: {is_drain}");
        assert!(opened.iter().all(|told| told.1 == 1 && told.2 == 0), "drain: {is_drain}: {told:?}");
        let others: Vec<_> = told.values().filter(|told| told.0 == 0).collect();
        assert!(matches!(others[..], [(0, 0, 1)]), "the one in its handshake; drain: {is_drain}: {told:?}");
    }
}

#[test]
fn a_client_speaks_tls_1_2_too() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let chain = vec![pair.cert.der().clone()];
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let tls = rustls::ServerConfig::builder_with_protocol_versions(&[version])
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key.clone_key())
            .unwrap();
        let config = Config {
            listen_tls: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            tls: Some(Arc::new(tls)),
            ..Config::default()
        };
        let server = Server::bind(&config, Echo).unwrap();
        let (addr, handle) = (server.local_addrs_tls()[0], server.handle());
        let running = thread::spawn(move || server.run());
        let count = Count::default();
        let config =
            client::Config { tls: Some(client_config(Trust::Roots(chain.clone())).unwrap()), ..Default::default() };
        let mut client = Client::new(&config, count.clone()).unwrap();
        let url = format!("wss://localhost:{}/", addr.port()).parse().unwrap();
        let id = client.open(&Target::resolve(&url, PATIENCE).unwrap()).unwrap();
        let deadline = Instant::now() + PATIENCE;
        while count.0.lock().unwrap().get(&id) != Some(&(1, 0, 0)) {
            assert!(Instant::now() < deadline, "{version:?}: {:?}", count.0.lock().unwrap());
            client.turn(Some(Duration::from_millis(100))).unwrap();
        }
        handle.stop();
        running.join().unwrap().unwrap();
    }
}

#[test]
fn settings_that_can_not_work_are_told_where_a_client_is_made() {
    let mut config = client::Config::default();
    config.settings.limits.queue_low_bytes = config.settings.limits.queue_high_bytes;
    let error = Client::new(&config, Echo).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert!(error.to_string().starts_with("queue_low_bytes 1048576 is not below queue_high_bytes"), "{error}");
}

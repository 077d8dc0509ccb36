//! Both transports on real sockets and a real poll.

use std::time::Duration;

use mio::{Events, Interest, Poll, Token, net::TcpStream};
use rustls::StreamOwned;

use super::*;

/// Accepts one loopback connection and echoes until the peer ends, as a loop would: registered once, edge-triggered.
fn serve_one(listener: Listener, wrap: impl FnOnce(TcpStream) -> Transport<TcpStream>) {
    let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
    let mut listener = listener;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE).unwrap();
    poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    let (stream, _) = listener.accept().unwrap().expect("a client waits");
    let mut transport = wrap(stream);
    poll.registry().register(transport.socket_mut(), Token(1), Interest::READABLE | Interest::WRITABLE).unwrap();

    let (mut scratch, mut into, mut backlog) = (TlsScratch::new(), vec![0; BIG], Vec::new());
    let (mut readable, mut ended) = (true, false);
    while !(ended && backlog.is_empty()) {
        if readable && !ended {
            let read = transport.read(&mut scratch, &mut into).unwrap();
            let (Read::Data { n, .. } | Read::Eof { n }) = read;
            backlog.extend_from_slice(&into[..n]);
            ended = matches!(read, Read::Eof { .. });
            readable = matches!(read, Read::Data { drained: false, .. });
        }
        let taken = transport.write(&mut scratch, &[IoSlice::new(&backlog)]).unwrap();
        backlog.drain(..taken);
        let progress = taken > 0 && !backlog.is_empty();
        if !(progress || readable || ended && backlog.is_empty()) {
            poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
            assert!(!events.is_empty(), "stuck for ten seconds");
            readable = true;
        }
    }
    assert!(transport.ended_cleanly());
    while !transport.close_write(&mut scratch).unwrap() {
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    }
    while transport.discard(&mut scratch).unwrap() != Discard::Eof {
        poll.poll(&mut events, Some(Duration::from_secs(10))).unwrap();
    }
}

/// Sends three mebibytes in pieces of 100,000 octets and expects each back.
fn expect_echo(stream: &mut (impl io::Read + io::Write)) {
    for piece in pattern(3 << 20).chunks(100_000) {
        stream.write_all(piece).unwrap();
        let mut back = vec![0; piece.len()];
        stream.read_exact(&mut back).unwrap();
        assert!(back == piece);
    }
}

#[test]
fn plain_octets_are_echoed_over_loopback() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, None).unwrap();
    let addr = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || serve_one(listener, Transport::Plain));
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    expect_echo(&mut client);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
    drop(client);
    server.join().unwrap();
}

#[test]
fn tls_is_echoed_over_loopback() {
    for version in [&TLS12, &TLS13] {
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 16, false, None).unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            serve_one(listener, |stream| Transport::Tls(Box::new(TlsStream::server(stream, our_server()).unwrap())));
        });
        let Connection::Client(client) = peer_client(version, &["http/1.1"]) else { unreachable!() };
        let mut client = StreamOwned::new(client, std::net::TcpStream::connect(addr).unwrap());
        expect_echo(&mut client);
        client.conn.send_close_notify();
        client.flush().unwrap();
        assert_eq!(client.read(&mut [0; 1]).unwrap(), 0, "close_notify, not just a FIN");
        drop(client);
        server.join().unwrap();
    }
}

//! One client's end of a connection, plain or TLS: octets and frames, no opinion about them. Every read and write has a
//! deadline.

use std::{
    fs,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use socket2::{Domain, SockRef, Socket, Type};

use super::{
    PATIENCE,
    http::{self, Response},
    wire::{Frame, show},
};

/// Where a server can be reached, and how.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) addr: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

impl Door {
    pub(crate) fn ws(addr: SocketAddr) -> Door {
        Door { addr, tls: None }
    }

    /// Trusts the CA in this PEM file and nobody else.
    pub(crate) fn wss(addr: SocketAddr, ca: &Path) -> Door {
        Door::wss_with(addr, Arc::new(client_config(ca)))
    }

    pub(crate) fn wss_with(addr: SocketAddr, config: Arc<ClientConfig>) -> Door {
        Door { addr, tls: Some(config) }
    }

    pub(crate) fn name(&self) -> &'static str {
        if self.tls.is_some() { "wss" } else { "ws" }
    }

    /// A TCP connection, over which TLS has not begun.
    pub(crate) fn tcp(&self) -> TcpStream {
        let tcp = TcpStream::connect_timeout(&self.addr, PATIENCE).expect("the server accepts");
        with_deadlines(tcp)
    }

    /// A TCP connection from this address of the machine.
    pub(crate) fn tcp_from(&self, from: IpAddr) -> TcpStream {
        let socket = Socket::new(Domain::for_address(self.addr), Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(from, 0).into()).expect("an address of this machine");
        socket.connect_timeout(&self.addr.into(), PATIENCE).expect("the server accepts");
        with_deadlines(socket.into())
    }

    /// A connection over which nothing has been sent, but for TLS's handshake.
    pub(crate) fn connect(&self) -> Client {
        self.over(self.tcp())
    }

    /// The same over a socket of the caller's.
    pub(crate) fn over(&self, tcp: TcpStream) -> Client {
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(config) => Stream::Tls(Box::new(tls_over(tcp, config.clone(), "localhost").expect("a TLS handshake"))),
        };
        Client { stream, received: Vec::new() }
    }

    /// An open WebSocket connection.
    pub(crate) fn open(&self) -> Client {
        let mut client = self.connect();
        client.upgrade();
        client
    }
}

/// A client that trusts the CA in this PEM file and nobody else.
pub(crate) fn client_config(ca: &Path) -> ClientConfig {
    let pem = fs::read(ca).unwrap_or_else(|error| panic!("{}: {error}", ca.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate.expect("PEM")).expect("a CA's certificate");
    }
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// TLS over a socket, its handshake done.
pub(crate) fn tls_over(
    mut tcp: TcpStream,
    config: Arc<ClientConfig>,
    name: &str,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).expect("a server's name");
    let mut tls = ClientConnection::new(config, name).expect("a usable configuration");
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(tls, tcp))
}

pub(crate) fn with_deadlines(tcp: TcpStream) -> TcpStream {
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    tcp.set_write_timeout(Some(PATIENCE)).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

/// How the server ended the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN; over TLS behind a close_notify.
    Clean,
    /// TLS ended by a FIN without close_notify.
    Truncated,
    /// A reset.
    Reset,
    /// A TLS alert.
    Alert,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// A connection.
pub(crate) struct Client {
    stream: Stream,
    /// Received and not yet asked for.
    received: Vec<u8>,
}

impl Client {
    /// Sends all of it.
    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).unwrap_or_else(|error| panic!("cannot send {}: {error}", show(octets)));
    }

    pub(crate) fn try_send(&mut self, octets: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write_all(octets),
            Stream::Tls(tls) => tls.write_all(octets).and_then(|()| tls.flush()),
        }
    }

    /// Sends what the socket takes within its write timeout; with TLS, what was taken may still wait for the socket.
    pub(crate) fn send_some(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.write(octets),
            Stream::Tls(tls) => tls.write(octets),
        }
    }

    /// Sends it in pieces of `chop` octets, each a segment or a TLS record of its own, as far as the server takes them.
    pub(crate) fn send_in_pieces(&mut self, octets: &[u8], chop: usize) {
        for piece in octets.chunks(chop) {
            // A server that has seen enough may be gone; what it said tells whether it was right.
            if self.try_send(piece).is_err() {
                return;
            }
        }
    }

    /// These octets in TLS records of so many each, as they go over the wire, each behind a KeyUpdate if `rekeyed`; they are not sent.
    pub(crate) fn in_records_of(&mut self, octets_each: usize, rekeyed: bool, octets: &[u8]) -> Vec<u8> {
        let Stream::Tls(tls) = &mut self.stream else { panic!("a plain connection") };
        let mut wire = Vec::new();
        for piece in octets.chunks(octets_each) {
            if rekeyed {
                tls.conn.refresh_traffic_keys().unwrap();
                tls.conn.write_tls(&mut wire).unwrap();
            }
            tls.conn.writer().write_all(piece).unwrap();
            tls.conn.write_tls(&mut wire).unwrap();
        }
        wire
    }

    /// Does the opening handshake.
    pub(crate) fn upgrade(&mut self) {
        self.send(http::UPGRADE.as_bytes());
        let response = self.response();
        assert_eq!(response.status, 101, "{response:?}");
    }

    /// The head of the next HTTP response, and its body if it announces one.
    pub(crate) fn response(&mut self) -> Response {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((response, size)) = http::parse(&self.received) {
                self.received.drain(..size);
                return response;
            }
            let end = self.receive(deadline);
            assert!(end.is_none(), "ended with {end:?} after {:?}", show(&self.received));
        }
    }

    /// The next frame.
    pub(crate) fn frame(&mut self) -> Frame {
        self.frame_before(Instant::now() + PATIENCE)
    }

    fn frame_before(&mut self, deadline: Instant) -> Frame {
        loop {
            if let Some((frame, size)) = Frame::parse(&self.received) {
                self.received.drain(..size);
                return frame;
            }
            let end = self.receive(deadline);
            assert!(end.is_none(), "ended with {end:?}, waiting for a frame, after {}", show(&self.received));
        }
    }

    /// Everything up to the end, and which end it was.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, End) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.receive(deadline) {
                return (std::mem::take(&mut self.received), end);
            }
        }
    }

    /// [`Client::rest`] if the end comes within the socket's read timeout; what came before stays here.
    pub(crate) fn try_rest(&mut self) -> Option<(Vec<u8>, End)> {
        let mut buffer = [0; 64 << 10];
        loop {
            match self.read(&mut buffer) {
                Ok(octets) if octets > 0 => self.received.extend_from_slice(&buffer[..octets]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return None;
                }
                ended => return Some((std::mem::take(&mut self.received), end_of(ended))),
            }
        }
    }

    /// Asserts that the server ends the connection in order, without another octet.
    pub(crate) fn expect_end(&mut self) {
        let (rest, end) = self.rest();
        assert_eq!((show(&rest), end), (String::new(), End::Clean));
    }

    /// Sends a message and expects it back.
    pub(crate) fn expect_echo(&mut self, text: &str) {
        self.send(&super::wire::PEER.text(text));
        let frame = self.frame();
        assert_eq!((frame.first, frame.payload.as_slice()), (0x81, text.as_bytes()), "the echo of {text:?}");
    }

    /// Asserts that nothing comes for a while. The one thing that can not be waited for.
    pub(crate) fn expect_silence(&mut self, span: Duration) {
        assert_eq!(show(&self.received), "", "silence");
        self.tcp().set_read_timeout(Some(span)).unwrap();
        let mut buffer = [0; 4096];
        let read = self.read(&mut buffer);
        self.tcp().set_read_timeout(Some(PATIENCE)).unwrap();
        match read {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Ok(octets) => panic!("{octets} octets instead of silence: {}", show(&buffer[..octets])),
            Err(error) => panic!("{error} instead of silence"),
        }
    }

    /// Ends our direction: over TLS close_notify, then FIN.
    pub(crate) fn half_close(&mut self) {
        if let Stream::Tls(tls) = &mut self.stream {
            tls.conn.send_close_notify();
            tls.flush().unwrap();
        }
        self.tcp().shutdown(Shutdown::Write).unwrap();
    }

    /// Breaks the connection with a RST.
    pub(crate) fn reset(self) {
        SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The socket beneath.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }

    /// What TLS agreed on.
    pub(crate) fn tls(&self) -> &ClientConnection {
        match &self.stream {
            Stream::Plain(_) => panic!("a plain connection"),
            Stream::Tls(tls) => &tls.conn,
        }
    }

    /// Receives once; `Some`: the end.
    fn receive(&mut self, deadline: Instant) -> Option<End> {
        assert!(Instant::now() < deadline, "waited {PATIENCE:?}, and got {}", show(&self.received));
        let mut buffer = [0; 64 << 10];
        match self.read(&mut buffer) {
            Ok(octets) if octets > 0 => {
                self.received.extend_from_slice(&buffer[..octets]);
                None
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                panic!("waited {PATIENCE:?}, and got {}", show(&self.received))
            }
            ended => Some(end_of(ended)),
        }
    }

    /// Receives once, whatever it is.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

fn end_of(ended: io::Result<usize>) -> End {
    match ended.map_err(|error| (error.kind(), error)) {
        Ok(_) => End::Clean,
        Err((io::ErrorKind::UnexpectedEof, _)) => End::Truncated,
        Err((io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe, _)) => End::Reset,
        Err((io::ErrorKind::InvalidData, _)) => End::Alert,
        Err((_, error)) => panic!("{error}"),
    }
}

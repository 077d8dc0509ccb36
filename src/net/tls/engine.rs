//! One code path over rustls' two unbuffered connections, server and client: records in, plaintext out, records out.
//! Touches no socket, and keeps rustls' state alone, or what took over from it.

use std::{mem, sync::Arc};

use rustls::{
    CipherSuite, ClientConfig, CommonState, Error, ServerConfig,
    client::{ClientConnectionData, UnbufferedClientConnection},
    pki_types::ServerName,
    server::{ServerConnectionData, UnbufferedServerConnection},
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
        WriteTraffic,
    },
};

use super::record_layer::RecordLayer;

/// What a server's connection writes before [`RecordLayer`] takes over: that costs some 2 µs and saves 0.1 an echo of 64 octets,
/// 0.5 of 16 KiB (`ih`, `ib`, `id` of benches/README.md), so a short connection is better off without.
pub(super) const WRITES_BY_RUSTLS: u8 = 16;

/// A TLS connection of either side.
pub(super) enum Engine {
    Server {
        conn: Box<UnbufferedServerConnection>,
        /// So many writes, and [`RecordLayer`] takes over; `None`: the configuration keeps its keys, asks for short records, or
        /// for a certified cipher.
        writes_left: Option<u8>,
    },
    Client(Box<UnbufferedClientConnection>),
    /// A server's connection whose handshake is done.
    Records(RecordLayer),
    /// rustls gave the connection up, but not its keys.
    Lost,
}

/// Ciphertext on its way out: a buffer that is filled from the front and never cleared octet by octet.
#[derive(Debug)]
pub(super) struct Outgoing {
    buf: Vec<u8>,
    len: usize,
}

/// Where a [`Engine::pump`] got to.
#[derive(Debug)]
pub(super) struct Pumped {
    /// Octets of the input that are done with; the rest must come again, unchanged, in front of what follows.
    pub(super) consumed: usize,
    /// Octets of plaintext written.
    pub(super) filled: usize,
    pub(super) stop: Stop,
}

/// Why a [`Engine::pump`] stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// Every whole record is done.
    Starved,
    /// The plaintext buffer is full while there may be more.
    Full,
    /// The peer's close_notify: what follows is to be ignored (RFC 8446 §6.1).
    PeerClosed,
    /// The connection has failed; the alert is among the outgoing records.
    Failed(Error),
}

impl Engine {
    pub(super) fn server(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let may_hand_over = config.enable_secret_extraction && config.max_fragment_size.is_none() && !config.fips();
        let conn = Box::new(UnbufferedServerConnection::new(config)?);
        Ok(Self::Server { conn, writes_left: may_hand_over.then_some(WRITES_BY_RUSTLS) })
    }

    pub(super) fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(|conn| Self::Client(Box::new(conn)))
    }

    /// Whether no application data can pass yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.common().is_some_and(CommonState::is_handshaking)
    }

    /// Whether not even the version is agreed.
    pub(super) fn is_at_the_start(&self) -> bool {
        self.common().is_some_and(|common| common.protocol_version().is_none())
    }

    /// What both of rustls' sides tell about themselves.
    fn common(&self) -> Option<&CommonState> {
        match self {
            Self::Server { conn, .. } => Some(conn),
            Self::Client(conn) => Some(conn),
            Self::Records(_) | Self::Lost => None,
        }
    }

    /// Lets [`RecordLayer`] take over where it can, which is for servers of TLS 1.3, once this was asked as often as
    /// [`WRITES_BY_RUSTLS`] says. To be called when all input is done with, and right behind an [`encrypt`](Self::encrypt): rustls
    /// keeps its answer to a KeyUpdate for that, and would lose it here.
    ///
    /// # Errors
    /// rustls does not give up its keys; the connection is lost then.
    pub(super) fn hand_over(&mut self) -> Result<(), Error> {
        const SUITES: [CipherSuite; 3] = [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS13_AES_256_GCM_SHA384,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        let Self::Server { conn, writes_left: Some(left) } = self else { return Ok(()) };
        *left = left.saturating_sub(1);
        if *left == 0
            && conn.negotiated_cipher_suite().is_some_and(|suite| SUITES.contains(&suite.suite()))
            && !conn.wants_write()
            && let Self::Server { conn, .. } = mem::replace(self, Self::Lost)
        {
            *self = Self::Records(RecordLayer::take_over(*conn)?);
        }
        Ok(())
    }

    /// Processes whole records from `incoming`: plaintext goes to `into` and, where a record does not fit, its end to `parked`;
    /// handshake records to be sent go to `out`.
    pub(super) fn pump(
        &mut self,
        incoming: &mut [u8],
        into: &mut [u8],
        parked: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Pumped {
        match self {
            Self::Records(records) => records.pump(incoming, into, parked, out),
            Self::Server { conn, .. } => pump(&mut **conn, incoming, into, parked, out),
            Self::Client(conn) => pump(&mut **conn, incoming, into, parked, out),
            Self::Lost => Pumped { consumed: 0, filled: 0, stop: Stop::Failed(Error::HandshakeNotComplete) },
        }
    }

    /// Encrypts all of `plain` into `out`; `false` if the handshake does not allow it yet. `held` is the unfinished input.
    pub(super) fn encrypt(&mut self, held: &mut [u8], plain: &[u8], out: &mut Outgoing) -> Result<bool, Error> {
        match self {
            Self::Records(records) => records.encrypt(plain, out).map(|()| true),
            engine => engine.with_traffic(held, out, |traffic, buf| traffic.encrypt(plain, buf)),
        }
    }

    /// Encodes a close_notify into `out`; `false` if the handshake does not allow it yet.
    pub(super) fn close_notify(&mut self, held: &mut [u8], out: &mut Outgoing) -> Result<bool, Error> {
        match self {
            Self::Records(records) => records.close_notify(out).map(|()| true),
            engine => engine.with_traffic(held, out, |traffic, buf| traffic.close_notify(buf)),
        }
    }

    fn with_traffic(
        &mut self,
        held: &mut [u8],
        out: &mut Outgoing,
        seal: impl FnMut(&mut dyn Traffic, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<bool, Error> {
        match self {
            Self::Server { conn, .. } => with_traffic(&mut **conn, held, out, seal),
            Self::Client(conn) => with_traffic(&mut **conn, held, out, seal),
            Self::Records(_) | Self::Lost => Ok(false),
        }
    }
}

impl Outgoing {
    pub(super) fn new(capacity: usize) -> Self {
        Self { buf: vec![0; capacity], len: 0 }
    }

    pub(super) fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    pub(super) fn filled(&self) -> &[u8] {
        &self.buf[..self.len]
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The next so many octets, for the caller to fill. Grows as [`append`](Self::append) does.
    pub(super) fn take(&mut self, octets: usize) -> &mut [u8] {
        let from = self.len;
        self.len += octets;
        if self.buf.len() < self.len {
            self.buf.resize(self.len, 0);
        }
        &mut self.buf[from..self.len]
    }

    /// Forgets all but the first so many.
    pub(super) fn truncate(&mut self, octets: usize) {
        self.len = self.len.min(octets);
    }

    /// Lets `write` fill the free end; grows when that is too short, as only a long handshake flight makes it.
    fn append<E>(&mut self, mut write: impl FnMut(&mut [u8]) -> Result<usize, E>) -> Result<(), Error>
    where
        E: Into<Shortage>,
    {
        loop {
            match write(&mut self.buf[self.len..]).map_err(Into::into) {
                Ok(n) => {
                    self.len += n;
                    return Ok(());
                }
                Err(Shortage::Room(InsufficientSizeError { required_size }))
                    if self.buf.len() < self.len + required_size =>
                {
                    self.buf.resize(self.len + required_size, 0);
                }
                Err(_) => return Err(Error::EncryptError),
            }
        }
    }

    fn encode<D>(&mut self, mut data: EncodeTlsData<'_, D>) -> Result<(), Error> {
        self.append(|buf| data.encode(buf))
    }
}

/// Why rustls wrote nothing.
enum Shortage {
    Room(InsufficientSizeError),
    Refused,
}

impl From<EncodeError> for Shortage {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::Room(size),
            EncodeError::AlreadyEncoded => Self::Refused,
        }
    }
}

impl From<EncryptError> for Shortage {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::Room(size),
            EncryptError::EncryptExhausted => Self::Refused,
        }
    }
}

/// What the two sides' connections have in common and rustls gives no trait for.
trait Records {
    type Side;
    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Side>;
    fn has_records_to_send(&self) -> bool;
}

impl Records for UnbufferedServerConnection {
    type Side = ServerConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Side> {
        self.process_tls_records(incoming)
    }

    fn has_records_to_send(&self) -> bool {
        self.wants_write()
    }
}

impl Records for UnbufferedClientConnection {
    type Side = ClientConnectionData;

    fn process<'c, 'i>(&'c mut self, incoming: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Side> {
        self.process_tls_records(incoming)
    }

    fn has_records_to_send(&self) -> bool {
        self.wants_write()
    }
}

/// [`WriteTraffic`] without its side.
trait Traffic {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<D> Traffic for WriteTraffic<'_, D> {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::encrypt(self, plain, out)
    }

    fn close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        self.queue_close_notify(out)
    }
}

fn pump<C: Records>(
    conn: &mut C,
    incoming: &mut [u8],
    into: &mut [u8],
    parked: &mut Vec<u8>,
    out: &mut Outgoing,
) -> Pumped {
    let mut consumed = 0;
    let mut filled = 0;
    let stop = loop {
        let full = filled == into.len() && filled > 0;
        if !parked.is_empty() || (full && consumed < incoming.len()) {
            break Stop::Full;
        }
        let UnbufferedStatus { mut discard, state } = conn.process(&mut incoming[consumed..]);
        let was_traffic = matches!(state, Ok(ConnectionState::ReadTraffic(_)));
        let failed = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut failed = None;
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            let fits = record.payload.len().min(into.len() - filled);
                            let (now, later) = record.payload.split_at(fits);
                            into[filled..filled + fits].copy_from_slice(now);
                            filled += fits;
                            parked.extend_from_slice(later);
                        }
                        Err(error) => failed = Some(error),
                    }
                }
                failed
            }
            Ok(ConnectionState::EncodeTlsData(data)) => out.encode(data).err(),
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done(); // it is in `out`, which the caller sends in any case
                None
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                consumed += discard;
                break Stop::Starved;
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                consumed += discard;
                break Stop::PeerClosed;
            }
            // Early data is never accepted (`max_early_data_size` is 0), so this is a state we do not know.
            Ok(other) => Some(Error::General(format!("unexpected TLS state {other:?}"))),
            Err(error) => Some(error),
        };
        consumed += discard;
        if let Some(error) = failed {
            take_alert(conn, out);
            break Stop::Failed(error);
        }
        if was_traffic && parked.is_empty() && consumed == incoming.len() && !conn.has_records_to_send() {
            break Stop::Starved; // as another call of rustls would say
        }
    };
    Pumped { consumed, filled, stop }
}

/// The alert that rustls queued for a failure. Asks before each call, because a failed connection must see no input again.
fn take_alert<C: Records>(conn: &mut C, out: &mut Outgoing) {
    while conn.has_records_to_send() {
        let Ok(ConnectionState::EncodeTlsData(data)) = conn.process(&mut []).state else { return };
        if out.encode(data).is_err() {
            return;
        }
    }
}

fn with_traffic<C: Records>(
    conn: &mut C,
    held: &mut [u8],
    out: &mut Outgoing,
    mut seal: impl FnMut(&mut dyn Traffic, &mut [u8]) -> Result<usize, EncryptError>,
) -> Result<bool, Error> {
    loop {
        let status = conn.process(held);
        debug_assert_eq!(status.discard, 0, "held input is incomplete, so no part of it can be done with");
        match status.state? {
            ConnectionState::WriteTraffic(mut traffic) => {
                return out.append(|buf| seal(&mut traffic, buf)).map(|()| true);
            }
            ConnectionState::EncodeTlsData(data) => out.encode(data)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {} // told once; our direction is still open
            ConnectionState::BlockedHandshake => return Ok(false),
            other => return Err(Error::General(format!("unexpected TLS state {other:?}"))),
        }
    }
}

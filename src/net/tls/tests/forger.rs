//! A client that seals what it likes, and what our server makes of it.

use rustls::{AlertDescription, ContentType, client::ClientConnectionData, kernel::KernelConnection};

use super::{
    super::{engine::Outgoing, record_layer::Protection},
    *,
};

pub(super) const CHANGE_CIPHER_SPEC: u8 = 20;
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const DATA: u8 = 23;
const FATAL: u8 = 2;
pub(super) const REQUESTED: [u8; 5] = [24, 0, 0, 1, 1];
pub(super) const NOT_REQUESTED: [u8; 5] = [24, 0, 0, 1, 0];

/// Our server behind the handshake, and a client that seals what it likes.
pub(super) struct Forger {
    pub(super) ours: TlsStream<SimSocket>,
    pub(super) scratch: TlsScratch,
    pub(super) sealing: Protection,
    pub(super) opening: Protection,
    pub(super) keys: KernelConnection<ClientConnectionData>,
}

impl Forger {
    pub(super) fn new() -> Self {
        let mut forger = Self::behind(WRITES_BY_RUSTLS);
        assert!(forger.is_without_rustls());
        forger
    }

    pub(super) fn is_without_rustls(&mut self) -> bool {
        matches!(self.ours.engine_mut(), Engine::Records(_))
    }

    /// Behind the handshake and so many writes.
    pub(super) fn behind(writes: u8) -> Self {
        let mut config = our_client();
        Arc::make_mut(&mut config).enable_secret_extraction = true;
        let mut client = TlsStream::client(SimSocket::new(), config, localhost()).unwrap();
        let mut ours = TlsStream::server(SimSocket::new(), our_server()).unwrap();
        let (mut scratch, mut into) = (TlsScratch::new(), vec![0; BIG]);
        for _ in 0..3 {
            client.flush().unwrap();
            ours.socket_mut().inbound.extend(std::mem::take(&mut client.socket_mut().outbound));
            ours.read(&mut scratch, &mut into).unwrap();
            for _ in 0..if ours.is_handshaking() { 0 } else { writes } {
                assert_eq!(ours.write(&mut scratch, &[IoSlice::new(b"welcome")]).unwrap(), 7);
            }
            client.socket_mut().inbound.extend(std::mem::take(&mut ours.socket_mut().outbound));
            client.read(&mut scratch, &mut into).unwrap();
        }
        let Engine::Client(client) = std::mem::replace(client.engine_mut(), Engine::Lost) else { unreachable!() };
        let (secrets, keys) = client.dangerous_into_kernel_connection().unwrap();
        let [sealing, opening] = [secrets.tx, secrets.rx].map(|secrets| Protection::new(secrets).unwrap());
        Self { ours, scratch, sealing, opening, keys }
    }

    /// A record with this inside: content, type and padding.
    pub(super) fn sealed(&mut self, inner: &[u8]) -> Vec<u8> {
        let mut out = Outgoing::new(0);
        let (&last, rest) = inner.split_last().unwrap();
        self.sealing.seal(ContentType::from(last), rest, &mut out).unwrap();
        out.filled().to_vec()
    }

    /// What comes of these octets, read into a buffer of `into_len`: plaintext, whether the stream has ended, the alert we sent.
    pub(super) fn read(&mut self, wire: &[u8], into_len: usize) -> (Vec<u8>, End) {
        self.ours.socket_mut().inbound.extend(wire);
        let (mut got, mut into) = (Vec::new(), vec![0; into_len]);
        loop {
            match self.ours.read(&mut self.scratch, &mut into) {
                Ok(Read::Data { n, drained }) => {
                    got.extend_from_slice(&into[..n]);
                    if drained {
                        return (got, End::None);
                    }
                }
                Ok(Read::Eof { n }) => {
                    got.extend_from_slice(&into[..n]);
                    return (got, End::CloseNotify);
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
                    let told = match &self.sent()[..] {
                        [] => None,
                        [(ALERT, alert)] => {
                            assert_eq!((alert[0], alert.len()), (FATAL, 2));
                            Some(AlertDescription::from(alert[1]))
                        }
                        other => panic!("{other:?}"),
                    };
                    let refused = self.ours.write(&mut self.scratch, &[IoSlice::new(b"x")]).unwrap_err();
                    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
                    return (got, End::Failed(told));
                }
            }
        }
    }

    pub(super) fn write(&mut self, octets: &[u8]) {
        assert_eq!(self.ours.write(&mut self.scratch, &[IoSlice::new(octets)]).unwrap(), octets.len());
    }

    /// The type and content of each record that we have sent. Follows a KeyUpdate.
    pub(super) fn sent(&mut self) -> Vec<(u8, Vec<u8>)> {
        let wire = std::mem::take(&mut self.ours.socket_mut().outbound);
        let mut rest = &wire[..];
        let mut records = Vec::new();
        while !rest.is_empty() {
            let len = 5 + usize::from(u16::from_be_bytes([rest[3], rest[4]]));
            let mut inner = vec![0; len - 5 - 16];
            assert!(self.opening.open_into(&rest[..len], &mut inner).is_ok(), "another key, or another number");
            let content_type = inner.pop().unwrap();
            if content_type == HANDSHAKE {
                self.opening = Protection::new(self.keys.update_rx_secret().unwrap()).unwrap();
            }
            records.push((content_type, inner));
            rest = &rest[len..];
        }
        records
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    None,
    CloseNotify,
    /// With the alert that the peer was told, if any.
    Failed(Option<AlertDescription>),
}

//! A server's TLS 1.3 records behind the handshake (RFC 8446 §5), without rustls' copies and allocations: opened straight into the
//! reader's buffer, sealed straight from the writer's octets. rustls makes the handshake and every key (`rustls::kernel`), aws-lc-rs
//! is the cipher. Limits are like rustls', alerts those of the RFC.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::{
    AlertDescription, ConnectionTrafficSecrets, ContentType, Error, HandshakeType, InvalidMessage, PeerMisbehaved,
    kernel::KernelConnection,
    server::{ServerConnectionData, UnbufferedServerConnection},
};

use super::{
    RECORD_OCTETS_MAX,
    engine::{Outgoing, Pumped, Stop},
};

const HEADER_OCTETS: usize = 5;
const TAG_OCTETS: usize = 16;
/// The content type, which stands behind the content (RFC 8446 §5.2).
const TYPE_OCTETS: usize = 1;
/// What a record's length may say (RFC 8446 §5.2).
pub(super) const CIPHERTEXT_OCTETS_MAX: usize = RECORD_OCTETS_MAX + 256;
/// Records under one key: RFC 8446 §5.5 allows AES-GCM 2^24.5.
pub(super) const RECORDS_A_KEY: u64 = 1 << 24;
/// Records without application data in a row.
pub(super) const IDLE_RECORDS_MAX: u8 = 32;
/// KeyUpdates that one call takes, of 27 octets and some 2 µs each: the rest waits for another read.
pub(super) const KEY_UPDATES_A_CALL: u8 = 32;

const WARNING: u8 = 1;
const FATAL: u8 = 2;
const KEY_UPDATE: u8 = 24;

/// One server's connection whose handshake is done.
pub(super) struct RecordLayer {
    opening: Protection,
    pub(super) sealing: Protection,
    /// The next keys, should anybody want them.
    keys: Box<KernelConnection<ServerConnectionData>>,
    /// A KeyUpdate of which only this much has come.
    key_update: Vec<u8>,
    /// The peer wants our keys changed before we send again (RFC 8446 §4.6.3).
    owes_key_update: bool,
    /// Records without application data, in a row.
    idle_records: u8,
    /// KeyUpdates that this call may still take.
    key_updates_left: u8,
}

/// One direction's key, and the number of the record it is for next.
pub(super) struct Protection {
    key: LessSafeKey,
    iv: [u8; 12],
    pub(super) sequence: u64,
}

/// Why a record ends the connection, and what the peer is told.
pub(super) struct Breach {
    error: Error,
    alert: Option<AlertDescription>,
}

impl RecordLayer {
    /// Takes over from rustls, which must have nothing more to send.
    ///
    /// # Errors
    /// What rustls says: the handshake is not done, or the configuration keeps its secrets.
    pub(super) fn take_over(conn: UnbufferedServerConnection) -> Result<Self, Error> {
        let (secrets, keys) = conn.dangerous_into_kernel_connection()?;
        Ok(Self {
            opening: Protection::new(secrets.rx)?,
            sealing: Protection::new(secrets.tx)?,
            keys: Box::new(keys),
            key_update: Vec::new(),
            owes_key_update: false,
            idle_records: 0,
            key_updates_left: 0,
        })
    }

    /// See [`Engine::pump`](super::engine::Engine::pump).
    pub(super) fn pump(
        &mut self,
        incoming: &mut [u8],
        into: &mut [u8],
        parked: &mut Vec<u8>,
        out: &mut Outgoing,
    ) -> Pumped {
        let mut consumed = 0;
        let mut filled = 0;
        self.key_updates_left = KEY_UPDATES_A_CALL;
        let stop = loop {
            let full = (filled == into.len() && filled > 0) || self.key_updates_left == 0;
            if !parked.is_empty() || (full && consumed < incoming.len()) {
                break Stop::Full;
            }
            let record = match whole_record(&mut incoming[consumed..]) {
                Ok(Some(record)) => record,
                Ok(None) => break Stop::Starved,
                Err(breach) => break self.fail(breach, out),
            };
            consumed += record.len();
            match self.take(record, &mut into[filled..], parked) {
                Ok(Taken::Octets(n)) => filled += n,
                Ok(Taken::CloseNotify) => break Stop::PeerClosed,
                Err(breach) => break self.fail(breach, out),
            }
        };
        Pumped { consumed, filled, stop }
    }

    /// Encrypts all of `plain` into `out`, behind the KeyUpdate that may be due.
    ///
    /// # Errors
    /// The cipher refused.
    pub(super) fn encrypt(&mut self, plain: &[u8], out: &mut Outgoing) -> Result<(), Error> {
        for piece in plain.chunks(RECORD_OCTETS_MAX) {
            if self.owes_key_update || self.sealing.sequence >= RECORDS_A_KEY {
                const UPDATE_NOT_REQUESTED: u8 = 0;
                self.sealing.seal(ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, UPDATE_NOT_REQUESTED], out)?;
                self.sealing = Protection::new(self.keys.update_tx_secret()?)?;
                self.owes_key_update = false;
            }
            self.sealing.seal(ContentType::ApplicationData, piece, out)?;
        }
        Ok(())
    }

    /// Encodes a close_notify into `out`.
    ///
    /// # Errors
    /// The cipher refused.
    pub(super) fn close_notify(&mut self, out: &mut Outgoing) -> Result<(), Error> {
        self.sealing.seal(ContentType::Alert, &[WARNING, AlertDescription::CloseNotify.into()], out)
    }

    fn fail(&mut self, breach: Breach, out: &mut Outgoing) -> Stop {
        if let Some(alert) = breach.alert {
            let _ = self.sealing.seal(ContentType::Alert, &[FATAL, alert.into()], out); // the breach is the error that counts
        }
        Stop::Failed(breach.error)
    }

    /// One whole record: what it carries goes to `into`, and what does not fit there to `parked`.
    fn take(&mut self, record: &mut [u8], into: &mut [u8], parked: &mut Vec<u8>) -> Result<Taken, Breach> {
        if record.len() - HEADER_OCTETS - TAG_OCTETS <= into.len() {
            let inner = self.opening.open_into(record, into)?;
            return self.judge(inner);
        }
        let inner = self.opening.open(record)?;
        let taken = self.judge(inner)?;
        let Taken::Octets(len) = taken else { return Ok(taken) };
        let (now, later) = inner[..len].split_at(len.min(into.len()));
        into[..now.len()].copy_from_slice(now);
        parked.extend_from_slice(later);
        Ok(Taken::Octets(now.len()))
    }

    /// What a record was, by its decrypted octets: content, type and padding (RFC 8446 §5.4).
    fn judge(&mut self, inner: &[u8]) -> Result<Taken, Breach> {
        if inner.len() > RECORD_OCTETS_MAX + TYPE_OCTETS {
            return Err(Breach::too_long()); // padding counts (§5.4)
        }
        let padding = inner.iter().rev().take_while(|&&octet| octet == 0).count();
        let Some((&content_type, content)) = inner[..inner.len() - padding].split_last() else {
            return Err(Breach::unexpected(PeerMisbehaved::IllegalTlsInnerPlaintext));
        };
        let len = content.len();
        match ContentType::from(content_type) {
            ContentType::Handshake => self.take_handshake(content).map(|()| Taken::Octets(0)),
            _ if !self.key_update.is_empty() => {
                Err(Breach::unexpected(PeerMisbehaved::MessageInterleavedWithHandshakeMessage))
            }
            ContentType::ApplicationData if len > 0 => {
                self.idle_records = 0;
                Ok(Taken::Octets(len))
            }
            ContentType::ApplicationData => {
                self.count_idle(PeerMisbehaved::TooManyEmptyFragments)?;
                Ok(Taken::Octets(0))
            }
            ContentType::Alert => self.take_alert(content),
            _ => Err(Breach::unexpected(InvalidMessage::InvalidContentType)),
        }
    }

    /// A KeyUpdate, in one record or in several: nothing else is due to a server that asks for no certificate.
    fn take_handshake(&mut self, content: &[u8]) -> Result<(), Breach> {
        const START: [u8; 4] = [KEY_UPDATE, 0, 0, 1];
        if content.is_empty() {
            return Err(Breach::unexpected(InvalidMessage::InvalidEmptyPayload));
        }
        let mut message = std::mem::take(&mut self.key_update);
        message.extend_from_slice(content);
        if let Some(&other) = message.first().filter(|&&first| first != KEY_UPDATE) {
            return Err(Breach::unexpected(Error::InappropriateHandshakeMessage {
                expect_types: vec![HandshakeType::KeyUpdate],
                got_type: other.into(),
            }));
        }
        let start = message.len().min(START.len());
        if message[..start] != START[..start] {
            return Err(Breach::new(InvalidMessage::InvalidKeyUpdate, AlertDescription::DecodeError));
        }
        match message[start..] {
            [] => self.key_update = message,
            [request @ (0 | 1)] => {
                self.count_idle(PeerMisbehaved::TooManyKeyUpdateRequests)?;
                self.key_updates_left = self.key_updates_left.saturating_sub(1);
                self.opening =
                    Protection::new(self.keys.update_rx_secret().map_err(Breach::ours)?).map_err(Breach::ours)?;
                self.owes_key_update |= request == 1;
            }
            [_] => return Err(Breach::new(InvalidMessage::InvalidKeyUpdate, AlertDescription::IllegalParameter)),
            _ => return Err(Breach::unexpected(PeerMisbehaved::KeyEpochWithPendingFragment)), // under the old key (§5.1)
        }
        Ok(())
    }

    fn take_alert(&mut self, content: &[u8]) -> Result<Taken, Breach> {
        if content.is_empty() {
            return Err(Breach::unexpected(InvalidMessage::InvalidEmptyPayload));
        }
        let [level, description] = *content else {
            return Err(Breach::new(InvalidMessage::TrailingData("alert"), AlertDescription::DecodeError));
        };
        match (level, AlertDescription::from(description)) {
            (WARNING | FATAL, AlertDescription::CloseNotify) => Ok(Taken::CloseNotify),
            (WARNING, AlertDescription::UserCanceled) => {
                self.count_idle(PeerMisbehaved::TooManyWarningAlertsReceived)?;
                Ok(Taken::Octets(0))
            }
            (FATAL, received) => Err(Breach { error: Error::AlertReceived(received), alert: None }),
            (WARNING, received) => Err(Breach::new(Error::AlertReceived(received), AlertDescription::DecodeError)),
            (_, received) => Err(Breach::new(Error::AlertReceived(received), AlertDescription::IllegalParameter)),
        }
    }

    /// Counts a record that brings nobody anything.
    fn count_idle(&mut self, too_many: PeerMisbehaved) -> Result<(), Breach> {
        if self.idle_records == IDLE_RECORDS_MAX {
            return Err(Breach::unexpected(too_many));
        }
        self.idle_records += 1;
        Ok(())
    }
}

/// What a record brought.
enum Taken {
    /// This much plaintext.
    Octets(usize),
    CloseNotify,
}

/// The record at the front, if all of it is there.
fn whole_record(incoming: &mut [u8]) -> Result<Option<&mut [u8]>, Breach> {
    let [content_type, _, _, high, low, ..] = *incoming else { return Ok(None) };
    if ContentType::from(content_type) != ContentType::ApplicationData {
        return Err(Breach::unexpected(InvalidMessage::InvalidContentType));
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    match len {
        ..TAG_OCTETS => Err(Breach::undecipherable()),
        TAG_OCTETS..=CIPHERTEXT_OCTETS_MAX => Ok(incoming.get_mut(..HEADER_OCTETS + len)),
        _ => Err(Breach::too_long()),
    }
}

impl Protection {
    pub(super) fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Result<Self, Error> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(Error::General("a cipher that this library does not know".into())),
        };
        Self::with(algorithm, key.as_ref(), iv.as_ref(), sequence)
    }

    pub(super) fn with(algorithm: &'static Algorithm, key: &[u8], iv: &[u8], sequence: u64) -> Result<Self, Error> {
        let unusable = || Error::General(format!("no key for {algorithm:?}"));
        let key = UnboundKey::new(algorithm, key).map_err(|_| unusable())?;
        let iv = iv.try_into().map_err(|_| unusable())?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// RFC 8446 §5.3.
    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (octet, number) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *octet ^= number;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Decrypts a whole record to the front of `into`, which has room for it.
    pub(super) fn open_into<'a>(&mut self, record: &[u8], into: &'a mut [u8]) -> Result<&'a [u8], Breach> {
        let (header, sealed) = record.split_at(HEADER_OCTETS);
        let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG_OCTETS);
        let inner = &mut into[..ciphertext.len()];
        let nonce = self.next_nonce();
        match self.key.open_separate_gather(nonce, Aad::from(header), ciphertext, tag, inner) {
            Ok(()) => Ok(inner),
            Err(_) => Err(Breach::undecipherable()),
        }
    }

    /// Decrypts a whole record where it lies.
    fn open<'a>(&mut self, record: &'a mut [u8]) -> Result<&'a [u8], Breach> {
        let (header, sealed) = record.split_at_mut(HEADER_OCTETS);
        let nonce = self.next_nonce();
        match self.key.open_in_place(nonce, Aad::from(&*header), sealed) {
            Ok(inner) => Ok(inner),
            Err(_) => Err(Breach::undecipherable()),
        }
    }

    /// One record of at most [`RECORD_OCTETS_MAX`] octets, at the end of `out`.
    pub(super) fn seal(&mut self, content_type: ContentType, content: &[u8], out: &mut Outgoing) -> Result<(), Error> {
        let len = content.len() + TYPE_OCTETS + TAG_OCTETS;
        debug_assert!(u16::try_from(len).is_ok(), "one record's");
        let [high, low] = (len as u16).to_be_bytes();
        let header = [ContentType::ApplicationData.into(), 3, 3, high, low];
        let before = out.filled().len();
        let record = out.take(HEADER_OCTETS + len);
        let (start, sealed) = record.split_at_mut(HEADER_OCTETS);
        start.copy_from_slice(&header);
        let (ciphertext, type_and_tag) = sealed.split_at_mut(content.len());
        let nonce = self.next_nonce();
        self.key
            .seal_out_of_place_scatter(
                nonce,
                Aad::from(header),
                content,
                ciphertext,
                &[content_type.into()],
                type_and_tag,
            )
            .map_err(|_| {
                out.truncate(before);
                Error::EncryptError
            })
    }
}

impl Breach {
    fn new(error: impl Into<Error>, alert: AlertDescription) -> Self {
        Self { error: error.into(), alert: Some(alert) }
    }

    fn unexpected(error: impl Into<Error>) -> Self {
        Self::new(error, AlertDescription::UnexpectedMessage)
    }

    fn undecipherable() -> Self {
        Self::new(Error::DecryptError, AlertDescription::BadRecordMac)
    }

    fn too_long() -> Self {
        Self::new(Error::PeerSentOversizedRecord, AlertDescription::RecordOverflow)
    }

    fn ours(error: Error) -> Self {
        Self::new(error, AlertDescription::InternalError)
    }
}

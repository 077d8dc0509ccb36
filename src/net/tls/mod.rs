//! TLS over a non-blocking socket, on rustls' unbuffered API (RFC 8446, RFC 5246); soon after the handshake a server's TLS 1.3 records
//! pass without it (`record_layer`).
//! Large buffers belong to the loop ([`TlsScratch`]); a connection keeps an incomplete record and unsent ciphertext, no more.

mod config;
mod engine;
mod pem;
mod record_layer;
mod stream;
#[cfg(all(test, feature = "cli"))]
mod tests;
mod unsent;

pub use config::{Trust, client_config, server_config, server_config_from_files};
pub use pem::{TlsError, read_chain, read_key};
pub use stream::TlsStream;

use std::io::IoSlice;

use engine::Outgoing;

/// Plaintext in one record at most (RFC 8446 §5.1).
pub const RECORD_OCTETS_MAX: usize = 16 * 1024;
/// Plaintext that one [`TlsStream::write`] takes while the socket is free: four full records, one `send`.
pub const BURST_OCTETS_MAX: usize = 4 * RECORD_OCTETS_MAX;
/// One record on the wire, header included; TLS 1.2 allows 2,048 octets of overhead (RFC 5246 §6.2.3).
const RECORD_WIRE_OCTETS_MAX: usize = 5 + RECORD_OCTETS_MAX + 2048;
/// Input a connection may hold for a later call: rustls ends a handshake message at 64 KiB, to which its records add their frames.
const HELD_OCTETS_MAX: usize = 96 * 1024;
/// The loop's buffer for ciphertext that comes in.
const INCOMING_OCTETS: usize = 128 * 1024;
/// The loop's buffer for ciphertext that goes out: a burst, its frames, and a handshake record or two.
const OUTGOING_OCTETS: usize = BURST_OCTETS_MAX + 8 * 1024;

const _: () = assert!(HELD_OCTETS_MAX + RECORD_WIRE_OCTETS_MAX <= INCOMING_OCTETS);

/// The buffers that one loop lends to whichever connection it serves, about 264 KiB in all.
///
/// They are written once and then only overwritten; a loop without TLS never touches their pages.
#[derive(Debug)]
pub struct TlsScratch {
    incoming: Vec<u8>,
    outgoing: Outgoing,
    /// Where several slices become one.
    staging: Vec<u8>,
}

impl TlsScratch {
    /// One for each loop.
    pub fn new() -> Self {
        Self {
            incoming: vec![0; INCOMING_OCTETS],
            outgoing: Outgoing::new(OUTGOING_OCTETS),
            staging: Vec::with_capacity(BURST_OCTETS_MAX),
        }
    }

    /// Octets of memory that they take.
    pub fn memory_bytes(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity() + self.staging.capacity()
    }

    /// A place for octets nobody will look at.
    pub(super) fn for_discard(&mut self) -> &mut [u8] {
        &mut self.incoming
    }
}

impl Default for TlsScratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Up to `octets_max` octets in one piece: the caller's own slice where it is alone or long enough, else a copy.
fn gather<'a>(bufs: &'a [IoSlice<'_>], octets_max: usize, staging: &'a mut Vec<u8>) -> &'a [u8] {
    let mut filled = bufs.iter().filter(|buf| !buf.is_empty());
    let Some(first) = filled.next() else { return &[] };
    let second = filled.next();
    if first.len() >= octets_max || second.is_none() {
        return &first[..first.len().min(octets_max)];
    }
    staging.clear();
    staging.extend_from_slice(first);
    for buf in second.into_iter().chain(filled) {
        let fits = buf.len().min(octets_max - staging.len());
        staging.extend_from_slice(&buf[..fits]);
    }
    staging
}

//! The proof that a server read the handshake: `Sec-WebSocket-Accept` (RFC 6455 §4.2.2, step 5.4), and the
//! nonce it is made from, `Sec-WebSocket-Key` (§4.1, step 7).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::{Digest as _, Sha1};

/// §1.3: the GUID that no other protocol appends to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Octets of a nonce in base64.
pub(super) const KEY_LEN: usize = 24;

/// §4.1's own example key ends in `EC==`, whose last four bits are not zero: a decoder that insists on zeros
/// would refuse it. Padding stays mandatory.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// The value of `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key`: base64 of the SHA-1 of key and GUID.
///
/// `key` is the header's value as it travelled, surrounding whitespace removed; it is not decoded (RFC 6455 §4.2.2).
///
/// ```
/// let accept = wslab::proto::handshake::accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
/// assert_eq!(&accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_key(key: &[u8]) -> [u8; 28] {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    let mut accept = [0; 28];
    let written = BASE64.encode_slice(hash.finalize(), &mut accept);
    debug_assert_eq!(written, Ok(accept.len()), "20 octets are 28 in base64");
    accept
}

/// A nonce as the header carries it.
pub(super) fn encode_key(nonce: &[u8; 16]) -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    let written = BASE64.encode_slice(nonce, &mut key);
    debug_assert_eq!(written, Ok(KEY_LEN), "16 octets are 24 in base64");
    key
}

/// §4.2.1, 5: a key is base64 of exactly 16 octets.
pub(super) fn is_key(value: &[u8]) -> bool {
    // The decoder wants room for whole groups of three octets.
    let mut nonce = [0; 18];
    value.len() == KEY_LEN && BASE64.decode_slice(value, &mut nonce) == Ok(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_what_the_rfc_computes() {
        // §1.3 and §4.2.2 step 5.4.
        assert_eq!(&accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(&encode_key(b"the sample nonce"), b"dGhlIHNhbXBsZSBub25jZQ==");
    }

    #[test]
    fn a_key_is_base64_of_sixteen_octets() {
        let rows: &[(&[u8], bool)] = &[
            (b"dGhlIHNhbXBsZSBub25jZQ==", true),
            (b"AAAAAAAAAAAAAAAAAAAAAA==", true),
            (b"/+/+/+/+/+/+/+/+/+/+/w==", true),
            (b"AQIDBAUGBwgJCgsMDQ4PEC==", true), // §4.1, step 7: the RFC's own, with spare bits set
            (b"", false),
            (b"dGhlIHNhbXBsZSBub25jZQ=", false),
            (b"dGhlIHNhbXBsZSBub25jZQ", false),
            (b"dGhlIHNhbXBsZSBub25jZQAA", false), // 18 octets
            (b"dGhlIHNhbXBsZSBub25jZQA=", false), // 17 octets
            (b"dGhlIHNhbXBsZSBub25j", false),     // 15 octets
            (b"dGhlIHNhbXBsZSBub25jZQ===", false),
            (b"dGhlIHNhbXBsZSBub25jZQ= =", false),
            (b"dGhlIHNhbXBsZSBub2 5jZQ==", false),
            (b"dGhlIHNhbXBsZSBub25-ZQ==", false), // the URL-safe alphabet is another one
            (b"dGhlIHNhbXBsZSBub25_ZQ==", false),
            (b"dGhlIHNhbXBsZSB=b25jZQ==", false),
            (b"dGhlIHNhbXBsZSBub25jZQ=\xff", false),
            (b"========================", false),
        ];
        for &(key, valid) in rows {
            assert_eq!(is_key(key), valid, "{}", key.escape_ascii());
        }
    }
}

//! A frame header as the wire can carry it (RFC 6455 §5.2): 2 to 14 octets, any values. Parses and emits; judges nothing.

use super::mask::MaskKey;

/// Octets of the longest header: 2, a 64-bit length, a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// The greatest length that the second octet holds itself.
pub(super) const LEN_SHORT_MAX: u8 = 125;

/// A header as it stands on the wire, legal or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireHeader {
    /// FIN.
    pub fin: bool,
    /// RSV1 (4), RSV2 (2), RSV3 (1).
    pub rsv: u8,
    /// 0–15.
    pub opcode: u8,
    /// The masking key, where MASK is set.
    pub mask: Option<MaskKey>,
    /// Payload octets.
    pub len: u64,
    /// Octets that the length took beyond the second octet: 0, 2 or 8.
    pub len_octets: u8,
}

impl WireHeader {
    /// Splits the first octet into FIN, RSV and opcode.
    #[inline]
    pub const fn split_first(octet: u8) -> (bool, u8, u8) {
        (octet & 0x80 != 0, octet >> 4 & 7, octet & 0x0f)
    }

    /// Reads the payload length from a header whose first two octets are there. `None`: its octets are not all there yet.
    #[inline]
    pub fn read_len(octets: &[u8]) -> Option<(u64, u8)> {
        match octets.get(1)? & 0x7f {
            126 => octets.get(2..)?.first_chunk().map(|len| (u16::from_be_bytes(*len).into(), 2)),
            127 => octets.get(2..)?.first_chunk().map(|len| (u64::from_be_bytes(*len), 8)),
            short => Some((short.into(), 0)),
        }
    }

    /// Reads a whole header from the front of `octets`, with the octets that it took. `None`: not all there yet.
    #[inline]
    pub fn parse(octets: &[u8]) -> Option<(Self, usize)> {
        let (&[first, second], _) = octets.split_first_chunk()?;
        let (fin, rsv, opcode) = Self::split_first(first);
        let (len, len_octets) = Self::read_len(octets)?;
        let mut size = 2 + usize::from(len_octets);
        let mask = if second & 0x80 != 0 {
            let key = octets.get(size..)?.first_chunk()?;
            size += 4;
            Some(*key)
        } else {
            None
        };
        Some((WireHeader { fin, rsv, opcode, mask, len, len_octets }, size))
    }

    /// A header of ours: the length in its shortest form (§5.2).
    #[inline]
    pub const fn new(fin: bool, rsv: u8, opcode: u8, mask: Option<MaskKey>, len: u64) -> Self {
        let len_octets = match len {
            0..=125 => 0,
            126..=0xffff => 2,
            _ => 8,
        };
        WireHeader { fin, rsv, opcode, mask, len, len_octets }
    }

    /// Octets on the wire.
    #[inline]
    pub const fn size(&self) -> usize {
        2 + self.len_octets as usize + if self.mask.is_some() { 4 } else { 0 }
    }

    /// Writes the header to the front of `to`, which holds at least [`WireHeader::size`] octets; returns the octets written.
    #[inline]
    pub fn emit(&self, to: &mut [u8]) -> usize {
        let size = self.size();
        let (octets, mask) = (to.get_mut(..size), if self.mask.is_some() { 0x80 } else { 0 });
        let Some(octets) = octets else {
            debug_assert!(false, "room for a header of {size} octets");
            return 0;
        };
        octets[0] = u8::from(self.fin) << 7 | self.rsv << 4 | self.opcode;
        match self.len_octets {
            0 => octets[1] = mask | self.len as u8,
            2 => {
                octets[1] = mask | 126;
                octets[2..4].copy_from_slice(&(self.len as u16).to_be_bytes());
            }
            _ => {
                octets[1] = mask | 127;
                octets[2..10].copy_from_slice(&self.len.to_be_bytes());
            }
        }
        if let Some(key) = self.mask {
            octets[size - 4..].copy_from_slice(&key);
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_6455_section_5_7_examples() {
        for (octets, header) in [
            (&[0x81, 0x05][..], WireHeader::new(true, 0, 1, None, 5)),
            (&[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d], WireHeader::new(true, 0, 1, Some([0x37, 0xfa, 0x21, 0x3d]), 5)),
            (&[0x01, 0x03], WireHeader::new(false, 0, 1, None, 3)),
            (&[0x80, 0x02], WireHeader::new(true, 0, 0, None, 2)),
            (&[0x89, 0x05], WireHeader::new(true, 0, 9, None, 5)),
            (&[0x82, 0x7e, 0x01, 0x00], WireHeader::new(true, 0, 2, None, 256)),
            (&[0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0], WireHeader::new(true, 0, 2, None, 65536)),
        ] {
            assert_eq!(WireHeader::parse(octets), Some((header, octets.len())));
            let mut out = [0; HEADER_BYTES_MAX];
            let size = header.emit(&mut out);
            assert_eq!(&out[..size], octets);
        }
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_and_no_prefix_is(
            fin: bool, rsv in 0u8..8, opcode in 0u8..16, mask: Option<MaskKey>,
            len in prop_oneof![0u64..300, 65_000u64..66_000, any::<u64>()],
        ) {
            let header = WireHeader::new(fin, rsv, opcode, mask, len);
            let mut out = [0; HEADER_BYTES_MAX];
            let size = header.emit(&mut out);
            prop_assert_eq!(WireHeader::parse(&out), Some((header, size)));
            for short in 0..size {
                prop_assert_eq!(WireHeader::parse(&out[..short]), None);
            }
        }
    }
}

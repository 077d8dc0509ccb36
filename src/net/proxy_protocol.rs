//! The PROXY protocol, versions 1 and 2 (HAProxy's specification, doc/proxy-protocol.txt): what a proxy in front says of the
//! client it speaks for, before anything else on the connection. Parsing only: no socket, no buffer, no trust.
//!
//! [`parse`] looks at all octets received so far and keeps nothing, so it is to be called again when more have come. Its
//! answer is the same for every way of cutting the stream: incomplete until one octet decides, and never revised after it.
//! A header is at most [`HEADER_BYTES_MAX`] octets, so looking again is cheap and the kernel's receive buffer can hold it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of a header, all included. §2.2 allows 65,551; this is nginx's bound, and room for every registered TLV.
pub const HEADER_BYTES_MAX: usize = 4096;

/// §2.1: the longest line of version 1, CRLF included.
const LINE_BYTES_MAX: usize = 107;

const PREFIX_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// §2.2: signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;

/// §2.2.3.
const TLV_CRC32C: u8 = 0x03;

/// What the octets received so far begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// As much as there is could begin a header: look again when more has come.
    Incomplete,
    /// No header, decided at the first octet that differs from both signatures.
    Absent,
    /// A whole, valid header.
    Header(Header),
}

/// A header that can be believed, if its sender can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its octets; the client's own come behind them.
    pub len: usize,
    /// 1 or 2.
    pub version: u8,
    /// Whom the proxy speaks for. `None`: the proxy itself (LOCAL), or a client without an address of TCP (UNKNOWN,
    /// AF_UNSPEC, AF_UNIX, datagrams): the connection's own peer is the client then (§2.1, §2.2).
    pub client: Option<SocketAddr>,
}

/// A header that begins like one and is none. The connection must be dropped (§2.1, §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// §2.1: neither TCP4, TCP6 nor UNKNOWN.
    #[error("version 1: neither TCP4, TCP6 nor UNKNOWN")]
    Protocol,
    /// §2.1: no CRLF.
    #[error("version 1: no CRLF within {LINE_BYTES_MAX} octets")]
    LineTooLong,
    /// §2.1: two addresses and two ports, one space between each.
    #[error("version 1: not two addresses and two ports of the family")]
    Fields,
    /// §2.2: the upper half of octet 13.
    #[error("version {0}: only 1 and 2 exist")]
    Version(u8),
    /// §2.2: the lower half of octet 13.
    #[error("version 2: command {0}: neither LOCAL nor PROXY")]
    Command(u8),
    /// §2.2: octet 14.
    #[error("version 2: unassigned family and transport {0:#04x}")]
    Family(u8),
    /// §2.2: longer than anybody needs.
    #[error("version 2: {0} octets behind the first {FIXED_BYTES}: a header is at most {HEADER_BYTES_MAX}")]
    TooLong(usize),
    /// §2.2: shorter than the family's addresses.
    #[error("version 2: {0} octets can not hold the addresses of the family")]
    TooShort(usize),
    /// §2.2: a TLV that ends behind the header, or a checksum that is not 4 octets long.
    #[error("version 2: a TLV of type {0:#04x} does not fit")]
    Tlv(u8),
    /// §2.2.3: the checksum.
    #[error("version 2: the CRC32c is wrong")]
    Checksum,
}

/// Looks for a header at the front of all octets received so far.
///
/// ```
/// use wslab::net::proxy_protocol::{Parsed, parse};
///
/// let octets = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\nGET / HTTP/1.1\r\n";
/// let Ok(Parsed::Header(header)) = parse(octets) else { panic!() };
/// assert_eq!(header.client, Some("203.0.113.7:56324".parse().unwrap()));
/// assert_eq!(&octets[header.len..], b"GET / HTTP/1.1\r\n");
/// ```
///
/// # Errors
/// A header that begins right and goes on wrong.
pub fn parse(octets: &[u8]) -> Result<Parsed, HeaderError> {
    if let Some(behind) = octets.strip_prefix(PREFIX_V1) {
        return parse_v1(octets, behind);
    }
    if let Some(behind) = octets.strip_prefix(SIGNATURE_V2) {
        return parse_v2(octets, behind);
    }
    let may_become = PREFIX_V1.starts_with(octets) || SIGNATURE_V2.starts_with(octets);
    Ok(if may_become { Parsed::Incomplete } else { Parsed::Absent })
}

/// §2.1: a line of text.
fn parse_v1(octets: &[u8], behind: &[u8]) -> Result<Parsed, HeaderError> {
    const UNKNOWN: &[u8] = b"UNKNOWN";
    let names: [&[u8]; 3] = [b"TCP4 ", b"TCP6 ", UNKNOWN];
    if !names.iter().any(|name| name.starts_with(behind) || behind.starts_with(name)) {
        return Err(HeaderError::Protocol);
    }
    let window = octets.get(..LINE_BYTES_MAX).unwrap_or(octets);
    // §2.1: neither CR nor LF alone ends the line.
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < LINE_BYTES_MAX { Ok(Parsed::Incomplete) } else { Err(HeaderError::LineTooLong) };
    };
    let line = &octets[PREFIX_V1.len()..end];
    let client = match line.strip_prefix(UNKNOWN) {
        // §2.1: whatever stands behind UNKNOWN is ignored.
        Some([] | [b' ', ..]) => None,
        Some(_) => return Err(HeaderError::Protocol),
        None => Some(parse_fields(line).ok_or(HeaderError::Fields)?),
    };
    Ok(Parsed::Header(Header { len: end + 2, version: 1, client }))
}

/// `TCP4 203.0.113.7 192.0.2.1 56324 443`, exactly one space between.
fn parse_fields(line: &[u8]) -> Option<SocketAddr> {
    let mut fields = std::str::from_utf8(line).ok()?.split(' ');
    let mut next = || fields.next();
    let parse_ip: fn(&str) -> Option<IpAddr> = match next()? {
        "TCP4" => |text| text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |text| text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return None,
    };
    let (source, _destination) = (parse_ip(next()?)?, parse_ip(next()?)?);
    let (port, _destination) = (parse_port(next()?)?, parse_port(next()?)?);
    next().is_none().then(|| SocketAddr::new(source, port))
}

/// §2.1: decimal, no leading zero (and no sign, which Rust would take).
fn parse_port(text: &str) -> Option<u16> {
    let is_canonical = text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical)
}

/// What octet 14 says of the addresses.
enum Addresses {
    /// §2.2: not to be looked at, nor what is behind them, since their length is not known.
    Unspecified,
    Inet {
        is_stream: bool,
    },
    Inet6 {
        is_stream: bool,
    },
    Unix,
}

impl Addresses {
    fn judge(octet: u8) -> Result<Self, HeaderError> {
        let is_stream = octet & 0x0f == 1;
        match (octet >> 4, octet & 0x0f) {
            (0..=3, 0) | (0, 1 | 2) => Ok(Self::Unspecified),
            (1, 1 | 2) => Ok(Self::Inet { is_stream }),
            (2, 1 | 2) => Ok(Self::Inet6 { is_stream }),
            (3, 1 | 2) => Ok(Self::Unix),
            _ => Err(HeaderError::Family(octet)),
        }
    }
}

/// §2.2: the binary form. Each octet is judged as soon as it is there; addresses and TLVs once all of them are.
fn parse_v2(octets: &[u8], behind: &[u8]) -> Result<Parsed, HeaderError> {
    let Some(&version_command) = behind.first() else { return Ok(Parsed::Incomplete) };
    if version_command >> 4 != 2 {
        return Err(HeaderError::Version(version_command >> 4));
    }
    let is_local = match version_command & 0x0f {
        0 => true,
        1 => false,
        command => return Err(HeaderError::Command(command)),
    };
    let Some(&family) = behind.get(1) else { return Ok(Parsed::Incomplete) };
    // §2.2: with LOCAL the family is ignored, whatever it is, and so is the whole block.
    let addresses = if is_local { Addresses::Unspecified } else { Addresses::judge(family)? };
    let Some(&[high, low]) = behind.get(2..4) else { return Ok(Parsed::Incomplete) };
    let block_len = usize::from(u16::from_be_bytes([high, low]));
    let addresses_len = match addresses {
        Addresses::Unspecified => 0,
        Addresses::Inet { .. } => 12,
        Addresses::Inet6 { .. } => 36,
        Addresses::Unix => 216,
    };
    let len = FIXED_BYTES + block_len;
    if len > HEADER_BYTES_MAX {
        return Err(HeaderError::TooLong(block_len));
    }
    if block_len < addresses_len {
        return Err(HeaderError::TooShort(block_len));
    }
    let Some(header) = octets.get(..len) else { return Ok(Parsed::Incomplete) };
    let block = &header[FIXED_BYTES..];
    if !matches!(addresses, Addresses::Unspecified) {
        judge_tlvs(header, FIXED_BYTES + addresses_len)?;
    }
    let client = match addresses {
        Addresses::Inet { is_stream: true } => {
            let [a, b, c, d, _, _, _, _, high, low, ..] = *block else { return Err(HeaderError::TooShort(block_len)) };
            Some(SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low]))))
        }
        Addresses::Inet6 { is_stream: true } => {
            let (Some(ip), Some(&[high, low])) = (block.first_chunk::<16>(), block.get(32..34)) else {
                return Err(HeaderError::TooShort(block_len));
            };
            Some(SocketAddr::from((*ip, u16::from_be_bytes([high, low]))))
        }
        _ => None,
    };
    Ok(Parsed::Header(Header { len, version: 2, client }))
}

/// §2.2: every TLV must fit; §2.2.3: a checksum must be right. The others are nobody's business here.
fn judge_tlvs(header: &[u8], from: usize) -> Result<(), HeaderError> {
    let mut at = from;
    let mut checksum_at = None;
    while let Some(&kind) = header.get(at) {
        let Some(&[high, low]) = header.get(at + 1..at + 3) else { return Err(HeaderError::Tlv(kind)) };
        let len = usize::from(u16::from_be_bytes([high, low]));
        let value = at + 3;
        at = value + len;
        if at > header.len() || (kind == TLV_CRC32C && (len != 4 || checksum_at.is_some())) {
            return Err(HeaderError::Tlv(kind));
        }
        if kind == TLV_CRC32C {
            checksum_at = Some(value);
        }
    }
    let Some(at) = checksum_at else { return Ok(()) };
    // The checksum is that of the header with zeros in its place.
    let (before, rest) = header.split_at(at);
    let (told, after) = rest.split_at(4);
    let found = !crc32c(crc32c(crc32c(!0, before), &[0; 4]), after);
    if found.to_be_bytes() == *told { Ok(()) } else { Err(HeaderError::Checksum) }
}

/// RFC 4960 appendix B, a step: from !0, and inverted at the end. At most 4 KiB a connection, so bit by bit is fast enough.
fn crc32c(state: u32, octets: &[u8]) -> u32 {
    octets.iter().fold(state, |state, &octet| {
        (0..8).fold(state ^ u32::from(octet), |state, _| (state >> 1) ^ (0x82f6_3b78 & (state & 1).wrapping_neg()))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

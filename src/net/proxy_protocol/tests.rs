//! Every row is judged at every prefix: incomplete until one octet decides, and the same from there on.

use proptest::prelude::*;

use super::*;

const PP2: &[u8] = SIGNATURE_V2;

/// The judgement of the whole, after every prefix was seen to agree with it: the law that makes cutting harmless.
fn check(octets: &[u8]) -> Result<Parsed, HeaderError> {
    let whole = parse(octets);
    let decided = (0..=octets.len()).find(|&end| parse(&octets[..end]) != Ok(Parsed::Incomplete));
    if let Some(decided) = decided {
        for end in decided..octets.len() {
            assert_eq!(parse(&octets[..end]), whole, "{end} octets of {}", octets.escape_ascii());
        }
        if let Ok(Parsed::Header(header)) = whole {
            assert_eq!(decided, header.len, "known as soon as it is there: {}", octets.escape_ascii());
        }
    }
    whole
}

fn v2(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap().to_be_bytes();
    [PP2, &[version_command, family], &len, block].concat()
}

/// Address block of the family, ports last.
fn block(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let ips = [source, destination].map(|addr| match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    });
    [ips.concat(), source.port().to_be_bytes().to_vec(), destination.port().to_be_bytes().to_vec()].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// A header whose last TLV is its checksum.
fn with_checksum(family: u8, block: &[u8]) -> Vec<u8> {
    let mut header = v2(0x21, family, &[block, &tlv(TLV_CRC32C, &[0; 4])].concat());
    let checksum = (!crc32c(!0, &header)).to_be_bytes();
    let at = header.len() - 4;
    header[at..].copy_from_slice(&checksum);
    header
}

fn client(text: &str) -> Option<SocketAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn crc32c_is_castagnolis() {
    // RFC 3720 §B.4 and the usual check value.
    assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
    assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa);
}

#[test]
fn lines_of_version_1_are_judged_by_the_letter() {
    use HeaderError::{Fields, LineTooLong, Protocol};
    let line_107 = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    let line_108 = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    assert_eq!(line_107.len(), LINE_BYTES_MAX);
    #[rustfmt::skip]
    let rows: &[(&str, Result<Option<SocketAddr>, HeaderError>)] = &[
        ("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n", Ok(client("203.0.113.7:56324"))),
        ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Ok(client("255.255.255.255:65535"))),
        ("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", Ok(client("0.0.0.0:0"))),
        ("PROXY TCP6 2001:db8::7 ::1 56324 443\r\n", Ok(client("[2001:db8::7]:56324"))),
        ("PROXY TCP6 FFFF:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            Ok(client("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"))),
        ("PROXY UNKNOWN\r\n", Ok(None)),
        ("PROXY UNKNOWN ffff::1 whatever \r is \n here\r\n", Ok(None)),
        (&line_107, Ok(None)),
        (&line_108, Err(LineTooLong)),
        ("PROXY UNKNOWNX\r\n", Err(Protocol)),
        ("PROXY TCP5 ", Err(Protocol)),
        ("PROXY  TCP4", Err(Protocol)),
        ("PROXY tcp4 ", Err(Protocol)),
        ("PROXY \r\n", Err(Protocol)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\n\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7  192.0.2.1 56324 443\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 56324 443 \r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 56324\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.007 192.0.2.1 56324 443\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.256 192.0.2.1 56324 443\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 056324 443\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 +1 443\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 1 \r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.7 192.0.2.1 65536 443\r\n", Err(Fields)),
        ("PROXY TCP4 ::1 ::1 1 2\r\n", Err(Fields)),
        ("PROXY TCP6 203.0.113.7 192.0.2.1 1 2\r\n", Err(Fields)),
        ("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", Err(Fields)),
        ("PROXY TCP4 203.0.113.\x1b[31m 192.0.2.1 1 2\r\n", Err(Fields)),
    ];
    for (line, expected) in rows {
        let judged = check(&[line.as_bytes(), b"behind"].concat());
        let header = |client| Parsed::Header(Header { len: line.len(), version: 1, client });
        assert_eq!(judged, expected.map(header), "{line:?}");
    }
}

#[test]
fn headers_of_version_2_are_judged_by_the_letter() {
    use HeaderError::{Checksum, Command, Family, Tlv, TooLong, TooShort, Version};
    let (four, six) = ("203.0.113.7:56324".parse().unwrap(), "[2001:db8::7]:56324".parse().unwrap());
    let inet = block(four, "192.0.2.1:443".parse().unwrap());
    let inet6 = block(six, "[::1]:443".parse().unwrap());
    let (unix, tlvs) = ([b'/'; 216], [tlv(0x02, b"host.example"), tlv(0x04, b""), tlv(0xe0, &[0xff; 300])].concat());
    let flipped = |mut header: Vec<u8>, at: usize| {
        header[at] ^= 1;
        header
    };
    let long = vec![0; HEADER_BYTES_MAX - FIXED_BYTES];
    type Row = (&'static str, Vec<u8>, Result<Option<SocketAddr>, HeaderError>);
    #[rustfmt::skip]
    let rows: Vec<Row> = vec![
        ("PROXY, TCP over IPv4", v2(0x21, 0x11, &inet), Ok(Some(four))),
        ("PROXY, TCP over IPv6", v2(0x21, 0x21, &inet6), Ok(Some(six))),
        ("TLVs are skipped", v2(0x21, 0x11, &[&inet[..], &tlvs].concat()), Ok(Some(four))),
        ("UDP is not what we speak", v2(0x21, 0x12, &inet), Ok(None)),
        ("UDP over IPv6 neither", v2(0x21, 0x22, &inet6), Ok(None)),
        ("UNIX stream", v2(0x21, 0x31, &unix), Ok(None)),
        ("UNIX datagram, TLVs", v2(0x21, 0x32, &[&unix[..], &tlvs].concat()), Ok(None)),
        ("UNSPEC", v2(0x21, 0x00, &[]), Ok(None)),
        ("UNSPEC: the block is not looked at", v2(0x21, 0x00, &[0xff; 5]), Ok(None)),
        ("family without transport", v2(0x21, 0x10, &[0xff; 5]), Ok(None)),
        ("transport without family", v2(0x21, 0x01, &[]), Ok(None)),
        ("LOCAL", v2(0x20, 0x00, &[]), Ok(None)),
        ("LOCAL: addresses and family are discarded", v2(0x20, 0x11, &inet), Ok(None)),
        ("LOCAL: even what is no family", v2(0x20, 0xff, &[0xff; 9]), Ok(None)),
        ("the longest", v2(0x21, 0x00, &long), Ok(None)),
        ("longer", v2(0x21, 0x00, &[&long[..], &[0]].concat()), Err(TooLong(HEADER_BYTES_MAX - FIXED_BYTES + 1))),
        ("LOCAL is bounded too", v2(0x20, 0x00, &[&long[..], &[0]].concat()), Err(TooLong(HEADER_BYTES_MAX - FIXED_BYTES + 1))),
        ("version 1 in the binary form", v2(0x11, 0x11, &inet), Err(Version(1))),
        ("version 3", v2(0x31, 0x11, &inet), Err(Version(3))),
        ("no such command", v2(0x22, 0x11, &inet), Err(Command(2))),
        ("no such family", v2(0x21, 0x41, &inet), Err(Family(0x41))),
        ("no such transport", v2(0x21, 0x13, &inet), Err(Family(0x13))),
        ("no such transport of UNSPEC", v2(0x21, 0x03, &[]), Err(Family(0x03))),
        ("IPv4 cut short", v2(0x21, 0x11, &inet[..11]), Err(TooShort(11))),
        ("IPv6 cut short", v2(0x21, 0x21, &inet), Err(TooShort(12))),
        ("UNIX cut short", v2(0x21, 0x31, &unix[..215]), Err(TooShort(215))),
        ("one octet of a TLV", v2(0x21, 0x11, &[&inet[..], &[4]].concat()), Err(Tlv(4))),
        ("a TLV beyond the end", v2(0x21, 0x11, &[&inet[..], &[4, 0, 1]].concat()), Err(Tlv(4))),
        ("a checksum", with_checksum(0x11, &inet), Ok(Some(four))),
        ("a checksum behind TLVs", with_checksum(0x21, &[&inet6[..], &tlvs].concat()), Ok(Some(six))),
        ("a wrong checksum", flipped(with_checksum(0x11, &inet), 34), Err(Checksum)),
        ("a wrong address", flipped(with_checksum(0x11, &inet), 16), Err(Checksum)),
        ("a checksum of 3 octets", v2(0x21, 0x11, &[&inet[..], &tlv(3, &[0; 3])].concat()), Err(Tlv(3))),
        ("two checksums", with_checksum(0x11, &[&inet[..], &tlv(3, &[0; 4])].concat()), Err(Tlv(3))),
    ];
    for (name, octets, expected) in rows {
        let judged = check(&[&octets[..], b"behind"].concat());
        let header = |client| Parsed::Header(Header { len: octets.len(), version: 2, client });
        assert_eq!(judged, expected.map(header), "{name}");
    }
}

#[test]
fn what_begins_otherwise_is_no_header() {
    for octets in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"PROPFIND / HTTP/1.1\r\n",
        b"PROXYX",
        b"PROXY\tTCP4",
        b"proxy TCP4",
        b"\x16\x03\x01\x02\0",
        b"\r\n\r\nGET / HTTP/1.1\r\n",
        b"\r\n\r\n\0\r\nQUIT\r\n",
        b"\0",
    ] {
        assert_eq!(check(octets), Ok(Parsed::Absent), "{}", octets.escape_ascii());
    }
    for octets in [&b""[..], b"P", b"PROXY", b"\r", b"\r\n\r\n", b"\r\n\r\n\0\r\nQUIT"] {
        assert_eq!(check(octets), Ok(Parsed::Incomplete), "{}", octets.escape_ascii());
    }
}

fn any_addrs() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let four = any::<([u8; 4], u16, [u8; 4], u16)>()
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    let six = any::<([u8; 16], u16, [u8; 16], u16)>()
        .prop_map(|(a, p, b, q)| (SocketAddr::from((a, p)), SocketAddr::from((b, q))));
    prop_oneof![four, six]
}

proptest! {
    #[test]
    fn what_is_emitted_is_parsed_at_every_cut(
        (source, destination) in any_addrs(),
        tlvs in prop::collection::vec((4..=0xff_u8, prop::collection::vec(any::<u8>(), 0..40)), 0..4),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let name = if source.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {name} {} {} {} {}\r\n", source.ip(), destination.ip(), source.port(), destination.port());
        let tlvs: Vec<u8> = tlvs.iter().flat_map(|(kind, value)| tlv(*kind, value)).collect();
        let body = [block(source, destination), tlvs].concat();
        let family = if source.is_ipv4() { 0x11 } else { 0x21 };
        for (version, header) in [(1, line.into_bytes()), (2, v2(0x21, family, &body)), (2, with_checksum(family, &body))] {
            let expected = Parsed::Header(Header { len: header.len(), version, client: Some(source) });
            prop_assert_eq!(check(&[&header[..], &tail].concat()), Ok(expected));
        }
    }

    #[test]
    fn any_octets_are_judged_alike_at_every_cut(
        start in prop::sample::select(vec![&b""[..], b"PROXY ", b"PROXY TCP4 ", b"PROXY UNKNOWN", PP2, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
        rest in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let octets = [start, &rest].concat();
        if let Ok(Parsed::Header(header)) = check(&octets) {
            prop_assert!(header.len <= octets.len() && header.len <= HEADER_BYTES_MAX);
        }
    }

    #[test]
    fn a_changed_octet_of_a_header_with_a_checksum_never_yields_another_client(
        (source, destination) in any_addrs(), at in FIXED_BYTES..FIXED_BYTES + 12, bit in 0..8,
    ) {
        let family = if source.is_ipv4() { 0x11 } else { 0x21 };
        let mut header = with_checksum(family, &block(source, destination));
        header[at] ^= 1_u8 << bit;
        prop_assert_eq!(parse(&header), Err(HeaderError::Checksum));
    }
}

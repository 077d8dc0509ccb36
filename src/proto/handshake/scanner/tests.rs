use proptest::prelude::*;

use super::*;

type Outcome = Result<Option<usize>, Refusal>;

const LIMITS: Limits = Limits { head_bytes_max: 120, head_lines_max: 4, ..Limits::DEFAULT };

/// Feeds `octets` in pieces that end at `cuts`; the outcome, counted from the head's start, and the octets it took to know.
fn feed(role: Role, octets: &[u8], cuts: impl IntoIterator<Item = usize>) -> (Outcome, usize) {
    let mut scanner = HeadScanner::new(role);
    let mut begin = 0;
    for end in cuts.into_iter().chain([octets.len()]) {
        match scanner.push(&octets[begin..end], &LIMITS) {
            Ok(None) => begin = end,
            Ok(Some(len)) => {
                assert_eq!(scanner.bytes_seen(), begin + len);
                assert_eq!(scanner.push(b"\x81\x80", &LIMITS), Ok(Some(0)), "behind the end");
                return (Ok(Some(begin + len)), begin + len);
            }
            Err(refusal) => {
                assert_eq!(scanner.push(b"\r\n\r\n", &LIMITS), Err(refusal.clone()), "a refusal is final");
                return (Err(refusal), scanner.bytes_seen());
            }
        }
    }
    (Ok(None), octets.len())
}

/// The law: whole, cut once anywhere, and octet by octet, the outcome is the same, after the same octet.
fn check(role: Role, octets: &[u8], expected: &Outcome) {
    let whole = feed(role, octets, []);
    assert_eq!(&whole.0, expected, "whole: {}", octets.escape_ascii());
    for cut in 0..=octets.len() {
        assert_eq!(feed(role, octets, [cut]), whole, "cut at {cut}: {}", octets.escape_ascii());
    }
    assert_eq!(feed(role, octets, 0..octets.len()), whole, "octet by octet: {}", octets.escape_ascii());
}

#[test]
fn request_heads_end_at_their_empty_line_however_they_are_cut() {
    #[rustfmt::skip]
    let rows: &[(&[u8], Option<usize>)] = &[
        (b"", None),
        (b"G", None),
        (b"GET / HTTP/1.1\r\n", None),
        (b"GET / HTTP/1.1\r\n\r", None),
        (b"GET / HTTP/1.1\r\n\r\n", Some(18)),
        (b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n", Some(29)),
        (b"GET / HTTP/1.1\r\nHost:lab\r\nA:\r\n\r\n", Some(32)),
        (b"GET / HTTP/1.1\r\nA:  \t b\tc \r\n\r\n", Some(30)),
        (b"GET / HTTP/1.1\r\nA: caf\xc3\xa9 \x80\xff\r\n\r\n", Some(31)), // RFC 9110 §5.5: obs-text
        (b"GET / HTTP/1.1\r\nA: b: c\r\n\r\n", Some(27)),
        (b"GET / HTTP/1.1\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", Some(42)),
        (b"\r\nGET / HTTP/1.1\r\n\r\n", Some(20)), // RFC 9112 §2.2
        (b"\r", None),
        (b"\r\n", None),
        (b"GET / HTTP/1.1\r\n\r\n\x81\x85\r\n\r\n", Some(18)), // the first frame follows
        (b"GET / HTTP/1.1\r\n\r\n\x16", Some(18)),
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n", Some(18)),
        (b"anything goes here\r\n\r\n", Some(22)), // judged later
    ];
    for &(octets, end) in rows {
        check(Role::Server, octets, &Ok(end));
    }
}

#[test]
fn response_heads_end_at_their_empty_line_however_they_are_cut() {
    #[rustfmt::skip]
    let rows: &[(&[u8], Outcome)] = &[
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81", Ok(Some(36))),
        (b"HTTP/1.1 101\r\nA: b\r\n\r\n", Ok(Some(22))),
        (b"HTTP/1.1 404 caf\xc3\xa9\tclosed\r\n\r\n", Ok(Some(29))), // RFC 9112 §4: obs-text and tabs in the reason
        (b"HTTP/1.1 101 x\r\n", Ok(None)),
        (b"\r\nHTTP/1.1 101\r\n\r\n", Err(Refusal::StartLine)), // only a server passes over empty lines
        (b"\x16\x03\x01", Err(Refusal::ControlOctet { octet: 0x16, at: 0 })),
        (b"\x15\x03\x03", Err(Refusal::ControlOctet { octet: 0x15, at: 0 })),
        (b"HTTP/1.1 101\n\r\n", Err(Refusal::BareLf { at: 12 })),
        (b"HTTP/1.1 101\r\nA: b\r\n c\r\n\r\n", Err(Refusal::FoldedLine { at: 20 })),
    ];
    for (octets, expected) in rows {
        check(Role::Client, octets, expected);
    }
    let long = [&b"HTTP/1.1 101 "[..], &[b'a'; 120]].concat();
    check(Role::Client, &long, &Err(Refusal::HeadTooLong { head_bytes_max: 120 }));
}

#[test]
fn an_illegal_octet_is_refused_at_once_and_names_its_place() {
    // Whatever follows the illegal octet must not matter, so most rows end with it.
    #[rustfmt::skip]
    let rows: &[(&[u8], Refusal)] = &[
        (b"\x16", Refusal::TlsOnPlainPort),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Refusal::TlsOnPlainPort),
        (b"\r\n\x16", Refusal::ControlOctet { octet: 0x16, at: 2 }),
        (b"\0", Refusal::ControlOctet { octet: 0, at: 0 }),
        (b" ", Refusal::StartLineOctet { octet: b' ', at: 0 }),
        (b"\x81", Refusal::StartLineOctet { octet: 0x81, at: 0 }),
        (b"\t", Refusal::StartLineOctet { octet: b'\t', at: 0 }),
        (b"\n", Refusal::BareLf { at: 0 }),
        (b"\rG", Refusal::BareCr { at: 0 }),
        (b"\r\r", Refusal::BareCr { at: 0 }),
        (b"\r\n\r", Refusal::StartLine), // a second empty line
        (b"\r\n\n", Refusal::BareLf { at: 2 }),
        (b"G\r", Refusal::StartLine),
        (b"G(", Refusal::StartLineOctet { octet: b'(', at: 1 }),
        (b"GET\t", Refusal::StartLineOctet { octet: b'\t', at: 3 }),
        (b"GET\0", Refusal::ControlOctet { octet: 0, at: 3 }),
        (b"GET /\x80", Refusal::StartLineOctet { octet: 0x80, at: 5 }),
        (b"GET /\t", Refusal::StartLineOctet { octet: b'\t', at: 5 }),
        (b"GET /\x7f", Refusal::ControlOctet { octet: 0x7f, at: 5 }),
        (b"GET / HTTP/1.1\n", Refusal::BareLf { at: 14 }),
        (b"GET / HTTP/1.1\r ", Refusal::BareCr { at: 14 }),
        (b"GET / HTTP/1.1\r\r", Refusal::BareCr { at: 14 }),
        (b"GET / HTTP/1.1\r\n\n", Refusal::BareLf { at: 16 }),
        (b"GET / HTTP/1.1\r\n\r\r", Refusal::BareCr { at: 16 }),
        (b"GET / HTTP/1.1\r\n ", Refusal::FoldedLine { at: 16 }),
        (b"GET / HTTP/1.1\r\n\t", Refusal::FoldedLine { at: 16 }),
        (b"GET / HTTP/1.1\r\nA: b\r\n ", Refusal::FoldedLine { at: 22 }),
        (b"GET / HTTP/1.1\r\nA: b\r\n\t", Refusal::FoldedLine { at: 22 }),
        (b"GET / HTTP/1.1\r\nHost ", Refusal::SpaceInName { at: 20 }),
        (b"GET / HTTP/1.1\r\nHost\t", Refusal::SpaceInName { at: 20 }),
        (b"GET / HTTP/1.1\r\n:", Refusal::NameOctet { octet: b':', at: 16 }),
        (b"GET / HTTP/1.1\r\nH@", Refusal::NameOctet { octet: b'@', at: 17 }),
        (b"GET / HTTP/1.1\r\nH\xc3", Refusal::NameOctet { octet: 0xc3, at: 17 }),
        (b"GET / HTTP/1.1\r\n\"", Refusal::NameOctet { octet: b'"', at: 16 }),
        (b"GET / HTTP/1.1\r\nH\0", Refusal::ControlOctet { octet: 0, at: 17 }),
        (b"GET / HTTP/1.1\r\nHost\r", Refusal::NoColon { at: 20 }),
        (b"GET / HTTP/1.1\r\nHost\n", Refusal::BareLf { at: 20 }),
        (b"GET / HTTP/1.1\r\nA: b\n", Refusal::BareLf { at: 20 }),
        (b"GET / HTTP/1.1\r\nA: b\rc", Refusal::BareCr { at: 20 }),
        (b"GET / HTTP/1.1\r\nA: b\r\r", Refusal::BareCr { at: 20 }),
        (b"GET / HTTP/1.1\r\nA: \0", Refusal::ControlOctet { octet: 0, at: 19 }),
        (b"GET / HTTP/1.1\r\nA: \x7f", Refusal::ControlOctet { octet: 0x7f, at: 19 }),
        (b"GET / HTTP/1.1\r\nA: \x1b[0m", Refusal::ControlOctet { octet: 0x1b, at: 19 }),
        (b"GET / HTTP/1.1\r\nA:\r\nB:\r\nC:\r\nD:\r\nE", Refusal::TooManyLines { head_lines_max: 4 }),
    ];
    for (octets, refusal) in rows {
        check(Role::Server, octets, &Err(refusal.clone()));
        let followed = [octets, &b"\r\n\r\n"[..]].concat();
        assert_eq!(&feed(Role::Server, &followed, []).0, &Err(refusal.clone()), "{}", followed.escape_ascii());
        assert_eq!(refusal.status(), if matches!(refusal, Refusal::TooManyLines { .. }) { 431 } else { 400 });
    }
}

#[test]
fn every_control_octet_is_refused_wherever_it_stands() {
    for place in ["", "G", "GET ", "GET /", "GET / HTTP/1.1\r\nA", "GET / HTTP/1.1\r\nA:", "GET / HTTP/1.1\r\nA: b"] {
        for octet in (0..0x20).chain([0x7f]) {
            if matches!(octet, b'\t' | b'\r' | b'\n') || (place.is_empty() && octet == TLS_HANDSHAKE) {
                continue;
            }
            let octets = [place.as_bytes(), &[octet]].concat();
            check(Role::Server, &octets, &Err(Refusal::ControlOctet { octet, at: place.len() }));
        }
    }
}

#[test]
fn a_head_may_fill_the_bound_and_not_pass_it() {
    let with_value = |len| [b"GET / HTTP/1.1\r\nA: ", vec![b'a'; len].as_slice(), b"\r\n\r\n"].concat();
    let too_long = Err(Refusal::HeadTooLong { head_bytes_max: 120 });
    check(Role::Server, &with_value(97), &Ok(Some(120)));
    check(Role::Server, &with_value(98), &too_long);
    check(Role::Server, &with_value(2000), &too_long);
    // A bound in the middle of a CRLF.
    for len in 94..=103 {
        assert_eq!(feed(Role::Server, &with_value(len), []).0.is_ok(), len <= 97, "{len}");
    }
    // The request line has its own status.
    let target_too_long = Err(Refusal::TargetTooLong { head_bytes_max: 120 });
    check(Role::Server, &[&b"GET /"[..], &[b'a'; 200]].concat(), &target_too_long);
    check(Role::Server, &[b'A'; 120], &target_too_long);
    check(Role::Server, &[b'A'; 119], &Ok(None));
    // It is known with the last octet that fits, not one later.
    assert_eq!(feed(Role::Server, &with_value(98), []).1, 120);
    assert_eq!(
        (Refusal::HeadTooLong { head_bytes_max: 1 }.status(), Refusal::TargetTooLong { head_bytes_max: 1 }.status()),
        (431, 414)
    );
}

#[test]
fn a_scanner_keeps_no_octets() {
    // Each push sees the new octets only and has nowhere to keep them, so no octet is looked at twice.
    assert!(size_of::<HeadScanner>() <= 80, "{}", size_of::<HeadScanner>());
}

/// Heads that come close to being legal.
fn near_head() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => proptest::sample::select(vec!["GET / HTTP/1.1\r\n", "A: b\r\n", "Host: lab\r\n", "\r\n", "X", ":", " ", "/", "value", "\t"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::sample::select(vec!["\r", "\n", "\0", "\x16", "\u{e9}"]).prop_map(|text| text.as_bytes().to_vec()),
    ];
    (any::<bool>(), proptest::collection::vec(piece, 0..20)).prop_map(|(begun, pieces)| {
        let start = if begun { b"GET / HTTP/1.1\r\n".to_vec() } else { Vec::new() };
        pieces.into_iter().fold(start, |head, piece| [head, piece].concat())
    })
}

proptest! {
    #[test]
    fn the_outcome_does_not_depend_on_the_cuts(octets in near_head(), cuts in proptest::collection::vec(0..400_usize, 0..12), server in any::<bool>()) {
        let role = if server { Role::Server } else { Role::Client };
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(octets.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(feed(role, &octets, cuts), feed(role, &octets, []));
    }

    #[test]
    fn random_octets_never_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = feed(Role::Server, &octets, 0..octets.len());
        let _ = feed(Role::Client, &octets, []);
    }
}

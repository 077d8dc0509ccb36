//! Octets as a PROXY header: no panic, the same judgement at every cut, never revised, and a length that is there.

use wslab::net::proxy_protocol::{HEADER_BYTES_MAX, Parsed, parse};

/// Panics where the law is broken.
pub(crate) fn check(input: &[u8]) {
    let whole = parse(input);
    if let Ok(Parsed::Header(header)) = whole {
        assert!(header.len <= input.len() && header.len <= HEADER_BYTES_MAX);
        // What comes behind it is not looked at.
        assert_eq!(parse(&input[..header.len]), whole);
        assert_eq!(parse(&input[..header.len - 1]), Ok(Parsed::Incomplete));
    }
    if whole == Ok(Parsed::Incomplete) {
        assert!(input.len() < HEADER_BYTES_MAX);
    }
    // Beyond the longest header nothing can change.
    let mut decided = None;
    for end in 0..=input.len().min(HEADER_BYTES_MAX) {
        match (parse(&input[..end]), decided) {
            (Ok(Parsed::Incomplete), None) => {}
            (judged, None) => decided = Some(judged),
            (judged, Some(before)) => assert_eq!(judged, before),
        }
    }
    assert_eq!(decided.unwrap_or(Ok(Parsed::Incomplete)), whole);
}

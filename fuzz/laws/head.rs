//! Octets as a request head: no panic, the same judgement for every cut, and nothing granted that the scanner refused.

use wslab::proto::{
    Limits, Role, Settings,
    handshake::{HeadScanner, Refusal, server},
};

fn scan(input: &[u8], cut: usize) -> (Result<Option<usize>, Refusal>, usize) {
    let mut scanner = HeadScanner::new(Role::Server);
    let (head, tail) = input.split_at(cut.min(input.len()));
    match scanner.push(head, &Limits::DEFAULT) {
        Ok(None) => {
            (scanner.push(tail, &Limits::DEFAULT).map(|end| end.map(|end| end + head.len())), scanner.bytes_seen())
        }
        judged => (judged, scanner.bytes_seen()),
    }
}

/// Panics where the law is broken.
pub(crate) fn check(input: &[u8]) {
    let Some((&cut, input)) = input.split_first() else { return };
    let (whole, _) = scan(input, input.len());
    assert_eq!(whole, scan(input, usize::from(cut)).0);
    if let Ok(Some(end)) = whole {
        let mut out = Vec::new();
        match server::answer(&input[..end], &Settings::default(), "Sun, 06 Nov 1994 08:49:37 GMT", &mut out) {
            Ok(_) => assert!(out.starts_with(b"HTTP/1.1 101 ") && out.ends_with(b"\r\n\r\n")),
            Err(refusal) => {
                assert!(out.is_empty());
                refusal.write("", &mut out);
                assert!(out.starts_with(format!("HTTP/1.1 {} ", refusal.status()).as_bytes()));
            }
        }
    }
}

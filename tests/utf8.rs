//! Text is UTF-8, judged octet by octet (RFC 6455 §8.1).

use std::time::Duration;

use crate::support::{
    process::Serve,
    table::{Row, hold_all},
    wire::{PEER, SERVER},
};

const LEGAL: &[(&str, &str)] = &[
    ("§8.1 two octets a character", "Käsestraße"),
    ("§8.1 three octets a character", "κόσμε…水"),
    ("§8.1 four octets a character", "\u{1f980}\u{10ffff}\u{10000}"),
    ("§8.1 the edges of every length", "\u{0}\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}"),
    ("§8.1 around the surrogates", "\u{d7ff}\u{e000}"),
    ("§8.1 what is no character is legal all the same", "\u{fffe}\u{fdd0}\u{1ffff}"),
    ("§8.1 the replacement character", "\u{fffd}"),
    ("§8.1 a byte order mark is kept", "\u{feff}a"),
];

const ILLEGAL: &[(&str, &[u8])] = &[
    ("§8.1 a lone continuation octet", b"\x80"),
    ("§8.1 an octet that UTF-8 never holds", b"\xfe"),
    ("§8.1 a character of five octets", b"\xf8\x88\x80\x80\x80"),
    ("§8.1 a slash in two octets", b"\xc0\xaf"),
    ("§8.1 a slash in three octets", b"\xe0\x80\xaf"),
    ("§8.1 a slash in four octets", b"\xf0\x80\x80\xaf"),
    ("§8.1 the largest overlong of three", b"\xe0\x9f\xbf"),
    ("§8.1 the first surrogate", b"\xed\xa0\x80"),
    ("§8.1 the last surrogate", b"\xed\xbf\xbf"),
    ("§8.1 a pair of surrogates", b"\xed\xa1\x8c\xed\xbe\xb4"),
    ("§8.1 beyond U+10FFFF", b"\xf4\x90\x80\x80"),
    ("§8.1 a character cut short by another", b"\xe2\x82a"),
    ("§8.1 a character cut short by the end", b"abc\xe2\x82"),
    ("§8.1 in the midst of text", b"\xce\xba\xcf\x8c\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"),
];

#[test]
fn legal_text_comes_back_however_it_is_cut() {
    let mut rows: Vec<Row> = Vec::new();
    for (name, text) in LEGAL {
        let end = |input: Vec<u8>| [input, PEER.close(1000)].concat();
        let expected = [SERVER.text(text), SERVER.close(1000)].concat();
        rows.push((name, end(PEER.text(text)), expected.clone()));
        // A fragment may end inside a character (§5.4 says nothing of characters).
        let octets = text.as_bytes();
        let mut fragments = PEER.frame(0x01, &octets[..1]);
        for octet in &octets[1..] {
            fragments.extend(PEER.frame(0x00, &[*octet]));
        }
        fragments.extend(PEER.frame(0x80, b""));
        rows.push((name, end(fragments), expected));
    }
    hold_all(&rows);
}

#[test]
fn illegal_text_fails_with_1007_behind_earlier_echoes() {
    let mut rows: Vec<Row> = Vec::new();
    for (name, octets) in ILLEGAL {
        rows.push((name, PEER.frame(0x81, octets), SERVER.close(1007)));
        let (head, tail) = octets.split_at(octets.len() / 2);
        let fragments =
            [PEER.text("kept"), PEER.frame(0x01, head), PEER.frame(0x80, tail), PEER.ping(b"unheard")].concat();
        rows.push((name, fragments, [SERVER.text("kept"), SERVER.close(1007)].concat()));
    }
    hold_all(&rows);
}

#[test]
fn binary_may_hold_anything() {
    let rows: Vec<Row> = ILLEGAL
        .iter()
        .map(|(name, octets)| {
            let input = [PEER.binary(octets), PEER.close(1000)].concat();
            (*name, input, [SERVER.binary(octets), SERVER.close(1000)].concat())
        })
        .collect();
    hold_all(&rows);
}

#[test]
fn text_fails_at_its_first_bad_octet_in_the_midst_of_a_frame() {
    let server = Serve::start(&[]);
    // What is legal so far and what is not, of a frame that announces more.
    #[rustfmt::skip]
    let rows: &[(&str, &[u8], &[u8])] = &[
        ("a surrogate shows in its second octet", b"\xce\xba\xcf\x8c\xed", b"\xa0"),
        ("beyond U+10FFFF shows in the second octet", b"\xce\xba\xf4", b"\x90"),
        ("an overlong shows in its first octet", b"plain", b"\xc0"),
        ("a cut character shows in what cuts it", b"\xe2\x82", b"a"),
    ];
    for door in server.doors() {
        for (name, legal, bad) in rows {
            let frame = PEER.frame(0x81, &[legal, bad, &b"never sent"[..]].concat());
            let at = frame.len() - b"never sent".len() - bad.len();
            let mut client = door.open();
            client.send(&frame[..at]);
            client.expect_silence(Duration::from_millis(30));
            client.send(&frame[at..at + bad.len()]);
            let close = client.frame();
            assert_eq!(close.close_code(), Some(1007), "{name} over {}", door.name());
            client.expect_end();
        }
    }
}

#[test]
fn a_large_text_is_judged_where_it_is_cut_by_the_reader() {
    // One character a line of 16 octets, so that some straddle every buffer's end.
    let line = "0123456789abc\u{20ac}";
    let text: String = std::iter::repeat_n(line, 20_000).collect();
    let server = Serve::start(&[]);
    for door in server.doors() {
        let mut client = door.open();
        client.send(&PEER.text(&text));
        assert!(client.frame().payload == text.as_bytes(), "a text of 320,000 octets over {}", door.name());
        let mut broken = text.clone().into_bytes();
        let last = broken.len() - 1;
        broken[last] = b'a';
        client.send(&PEER.frame(0x81, &broken));
        assert_eq!(client.frame().close_code(), Some(1007), "over {}", door.name());
        client.expect_end();
    }
}

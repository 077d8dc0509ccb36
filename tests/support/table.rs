//! Conversations as data: what a client sends behind its upgrade, and all that it gets until the server has ended the
//! connection. Each is held over ws and wss, sent whole and octet by octet.

use super::{
    client::{Door, End},
    process::Serve,
    wire::{Frame, show},
};

/// A row: its section and name, what is sent, what comes back.
pub(crate) type Row = (&'static str, Vec<u8>, Vec<u8>);

/// How a conversation is cut: all at once, and octet by octet.
const CHOPS: [usize; 2] = [usize::MAX, 1];

/// Holds every conversation in every way, on a server with default settings.
pub(crate) fn hold_all(rows: &[Row]) {
    hold_all_on(&Serve::start(&[]), rows);
}

/// The same on a given server.
pub(crate) fn hold_all_on(server: &Serve, rows: &[Row]) {
    let mut failures = Vec::new();
    for door in server.doors() {
        for chop in CHOPS {
            for row in rows {
                failures.extend(hold(&door, row, chop));
            }
        }
    }
    assert!(failures.is_empty(), "{} conversations went wrong:\n\n{}", failures.len(), failures.join("\n\n"));
}

/// Holds one conversation; returns what went wrong.
fn hold(door: &Door, (name, input, expected): &Row, chop: usize) -> Option<String> {
    let mut client = door.open();
    client.send_in_pieces(input, chop);
    let (output, end) = client.rest();
    if end == End::Clean && is_as_expected(&output, expected) {
        return None;
    }
    let cut = if chop == usize::MAX { "whole".to_owned() } else { format!("in pieces of {chop}") };
    Some(format!(
        "{name}, over {}, sent {cut}, ended with {end:?}\n  sent     {}\n  expected {}\n  got      {}\n  octets   {:02x?}",
        door.name(),
        show(input),
        show(expected),
        show(&output),
        &output[..output.len().min(64)],
    ))
}

/// A Pong may pass an echo that has not begun, so how the two mingle depends on how the input was cut. Where Pongs are
/// expected first there is nothing to pass, and the octets must be the same.
fn is_as_expected(output: &[u8], expected: &[u8]) -> bool {
    let lanes = |octets| {
        let (frames, rest) = Frame::parse_all(octets);
        let (pongs, others): (Vec<_>, Vec<_>) = frames.into_iter().partition(|frame| frame.first == 0x8a);
        (pongs, others, rest.to_vec())
    };
    let (frames, _) = Frame::parse_all(expected);
    let is_fixed = frames.is_sorted_by_key(|frame| frame.first != 0x8a);
    if is_fixed { output == expected } else { lanes(output) == lanes(expected) }
}

#[test]
fn a_conversation_that_goes_otherwise_is_told_with_its_case_cut_and_octets() {
    use super::wire::{PEER, SERVER};
    let server = Serve::start_plain(&[]);
    let row = ("a doctored row", [PEER.text("a"), PEER.close(1000)].concat(), SERVER.close(1000));
    let failure = hold(&server.ws(), &row, 1).expect("an echo that was not expected");
    for part in ["a doctored row", "over ws", "in pieces of 1", "[text masked 1: \"a\"]", "got      [text 1: \"a\"]"] {
        assert!(failure.contains(part), "{part} in {failure}");
    }
    assert_eq!(hold(&server.ws(), &(row.0, row.1, [SERVER.text("a"), SERVER.close(1000)].concat()), 1), None);
}

//! Records behind the handshake: those that RFC 8448 prints, those that a hostile peer may seal, and keys that change.

use ::aws_lc_rs::aead::AES_128_GCM;
use rustls::{AlertDescription, ContentType};

use super::{
    super::{
        engine::Outgoing,
        record_layer::{CIPHERTEXT_OCTETS_MAX, IDLE_RECORDS_MAX, KEY_UPDATES_A_CALL, Protection, RECORDS_A_KEY},
    },
    forger::{ALERT, CHANGE_CIPHER_SPEC, DATA, End, Forger, HANDSHAKE, NOT_REQUESTED, REQUESTED},
    *,
};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// RFC 8448 §3: the two records of application data, and the keys they are under.
#[test]
fn the_records_that_rfc_8448_prints_are_sealed_and_opened() {
    let data: Vec<u8> = (0..50).collect();
    for (sequence, key, iv, record) in [
        (
            0,
            "17422dda596ed5d9acd890e3c63f5051",
            "5b78923dee08579033e523d9",
            "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a297\
             7014bd1e3deae63aeebb21694915e4",
        ),
        (
            1,
            "9f02283b6c9c07efc26bb9f2ac92e356",
            "cf782b88dd83549aadf1e984",
            "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c\
             0047c2abf332540dd032e167c2955d",
        ),
    ] {
        let protection = || Protection::with(&AES_128_GCM, &hex(key), &hex(iv), sequence).unwrap();
        let mut out = Outgoing::new(0);
        protection().seal(ContentType::ApplicationData, &data, &mut out).unwrap();
        assert_eq!(out.filled(), hex(record));
        let mut into = [0; 51];
        assert!(protection().open_into(&hex(record), &mut into).is_ok());
        assert_eq!((&into[..50], into[50]), (&data[..], DATA));
    }
}

#[test]
fn whatever_is_sealed_brings_plaintext_the_end_or_one_alert() {
    use AlertDescription::{BadRecordMac, DecodeError, IllegalParameter, RecordOverflow, UnexpectedMessage};
    let failed = |alert| End::Failed(Some(alert));
    let long = |len: usize, padding: usize| [vec![b'x'; len], vec![DATA], vec![0; padding]].concat();
    let in_a_row = |inner: &[u8], n: u8| vec![inner.to_vec(); usize::from(n)];
    let text = |text: &[u8]| [text, &[DATA]].concat();
    type Row<'a> = (&'a str, Vec<Vec<u8>>, Vec<u8>, End);
    let rows: Vec<Row<'_>> = vec![
        ("data", vec![text(b"one"), text(b"two")], b"onetwo".to_vec(), End::None),
        ("padded data", vec![long(1, 1000), text(b"y")], b"xy".to_vec(), End::None),
        ("the longest", vec![long(RECORD_OCTETS_MAX, 0)], vec![b'x'; RECORD_OCTETS_MAX], End::None),
        ("the longest padding", vec![long(1, RECORD_OCTETS_MAX - 1)], b"x".to_vec(), End::None),
        ("too long inside", vec![text(b"a"), long(RECORD_OCTETS_MAX + 1, 0)], b"a".to_vec(), failed(RecordOverflow)),
        ("too long by its padding", vec![long(RECORD_OCTETS_MAX, 1)], vec![], failed(RecordOverflow)),
        ("too much padding", vec![long(1, RECORD_OCTETS_MAX)], vec![], failed(RecordOverflow)),
        ("too long outside", vec![long(CIPHERTEXT_OCTETS_MAX - 16, 0)], vec![], failed(RecordOverflow)),
        ("no type", vec![vec![0; 30]], vec![], failed(UnexpectedMessage)),
        ("no such type", vec![vec![1, 99]], vec![], failed(UnexpectedMessage)),
        ("ChangeCipherSpec", vec![vec![1, CHANGE_CIPHER_SPEC]], vec![], failed(UnexpectedMessage)),
        ("some empty data", [in_a_row(&[DATA], IDLE_RECORDS_MAX), vec![text(b"a")]].concat(), b"a".to_vec(), End::None),
        ("too much empty data", in_a_row(&[DATA], IDLE_RECORDS_MAX + 1), vec![], failed(UnexpectedMessage)),
        (
            "empty data and other data in turn",
            in_a_row(&[DATA], IDLE_RECORDS_MAX + 1).into_iter().flat_map(|empty| [empty, text(b"a")]).collect(),
            vec![b'a'; usize::from(IDLE_RECORDS_MAX) + 1],
            End::None,
        ),
        ("close_notify", vec![text(b"a"), vec![1, 0, ALERT], text(b"b")], b"a".to_vec(), End::CloseNotify),
        ("a fatal close_notify", vec![vec![2, 0, ALERT]], vec![], End::CloseNotify),
        ("a fatal user_canceled", vec![vec![2, 90, ALERT]], vec![], End::Failed(None)),
        ("user_canceled", vec![vec![1, 90, ALERT], text(b"a")], b"a".to_vec(), End::None),
        (
            "user_canceled all the time",
            in_a_row(&[1, 90, ALERT], IDLE_RECORDS_MAX + 1),
            vec![],
            failed(UnexpectedMessage),
        ),
        ("handshake_failure", vec![text(b"a"), vec![2, 40, ALERT]], b"a".to_vec(), End::Failed(None)),
        ("a warning", vec![vec![1, 40, ALERT]], vec![], failed(DecodeError)),
        ("neither a warning nor fatal", vec![vec![3, 40, ALERT]], vec![], failed(IllegalParameter)),
        ("an empty alert", vec![vec![ALERT]], vec![], failed(UnexpectedMessage)),
        ("half an alert", vec![vec![1, ALERT]], vec![], failed(DecodeError)),
        ("two alerts", vec![vec![1, 0, 1, 0, ALERT]], vec![], failed(DecodeError)),
        ("an empty handshake message", vec![vec![HANDSHAKE]], vec![], failed(UnexpectedMessage)),
        ("a ticket for the server", vec![vec![4, 0, 0, 0, HANDSHAKE]], vec![], failed(UnexpectedMessage)),
        ("a new ClientHello", vec![vec![1, 0, 0, 0, HANDSHAKE]], vec![], failed(UnexpectedMessage)),
        ("a long KeyUpdate", vec![vec![24, 0, 0, 2, 0, 0, HANDSHAKE]], vec![], failed(DecodeError)),
        ("an unknown KeyUpdate", vec![vec![24, 0, 0, 1, 2, HANDSHAKE]], vec![], failed(IllegalParameter)),
        (
            "a message behind a KeyUpdate",
            vec![[&NOT_REQUESTED[..], &NOT_REQUESTED, &[HANDSHAKE]].concat()],
            vec![],
            failed(UnexpectedMessage),
        ),
        ("data within a KeyUpdate", vec![vec![24, 0, HANDSHAKE], text(b"a")], vec![], failed(UnexpectedMessage)),
        (
            "an alert within a KeyUpdate",
            vec![vec![24, HANDSHAKE], vec![1, 0, ALERT]],
            vec![],
            failed(UnexpectedMessage),
        ),
        (
            "data under the old key",
            vec![[&NOT_REQUESTED[..], &[HANDSHAKE]].concat(), text(b"a")],
            vec![],
            failed(BadRecordMac),
        ),
        (
            "data under the old key behind a KeyUpdate in pieces",
            vec![vec![24, 0, HANDSHAKE], vec![0, 1, HANDSHAKE], vec![1, HANDSHAKE], text(b"a")],
            vec![],
            failed(BadRecordMac),
        ),
    ];
    for (case, inners, plaintext, end) in rows {
        for (step, into_len) in [(usize::MAX, BIG), (usize::MAX, 1), (1, BIG), (7, 300)] {
            let mut forger = Forger::new();
            let wire: Vec<u8> = inners.iter().flat_map(|inner| forger.sealed(inner)).collect();
            let (mut got, mut ended) = (Vec::new(), End::None);
            for piece in wire.chunks(step.min(wire.len())) {
                let (more, now) = forger.read(piece, into_len);
                got.extend(more);
                ended = now;
                if ended != End::None {
                    break;
                }
            }
            let case = format!("{case}, by {step} into {into_len}");
            assert!(got == plaintext, "{case}: {} octets", got.len());
            assert_eq!(ended, end, "{case}");
        }
    }
}

#[test]
fn what_stands_outside_is_judged_before_anything_is_opened() {
    use AlertDescription::{BadRecordMac, RecordOverflow, UnexpectedMessage};
    let too_long = ((CIPHERTEXT_OCTETS_MAX + 1) as u16).to_be_bytes();
    for (case, wire, alert) in [
        ("an open alert", vec![ALERT, 3, 3, 0, 2, 1, 0], UnexpectedMessage),
        ("an open handshake message", vec![HANDSHAKE, 3, 3, 0, 5, 24, 0, 0, 1, 0], UnexpectedMessage),
        ("ChangeCipherSpec", vec![CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1], UnexpectedMessage),
        ("too long", vec![DATA, 3, 3, too_long[0], too_long[1]], RecordOverflow),
        ("no room for a tag", [&[DATA, 3, 3, 0, 15][..], &[0; 15]].concat(), BadRecordMac),
        ("nothing but a tag", [&[DATA, 3, 3, 0, 16][..], &[0; 16]].concat(), BadRecordMac),
    ] {
        assert_eq!(Forger::new().read(&wire, BIG), (vec![], End::Failed(Some(alert))), "{case}");
    }
}

#[test]
fn a_record_with_any_octet_changed_or_sent_twice_is_refused() {
    for at in 0..5 + 6 + 1 + 16 {
        let mut forger = Forger::new();
        let mut wire = forger.sealed(b"forged\x17");
        wire[at] ^= 4;
        wire.extend([0; 2000]); // the length may have grown
        let (got, end) = forger.read(&wire, BIG);
        assert!(got.is_empty() && matches!(end, End::Failed(Some(_))), "octet {at}: {end:?}");
    }
    let mut forger = Forger::new();
    let wire = forger.sealed(b"again\x17");
    assert_eq!(forger.read(&wire, BIG), (b"again".to_vec(), End::None));
    assert_eq!(forger.read(&wire, BIG), (vec![], End::Failed(Some(AlertDescription::BadRecordMac))));
}

#[test]
fn a_key_update_is_answered_once_and_before_the_next_data() {
    let mut forger = Forger::new();
    for round in 0..3 {
        for _ in 0..3 {
            let wire = forger.sealed(&[&REQUESTED[..], &[HANDSHAKE]].concat());
            assert_eq!(forger.read(&wire, BIG), (vec![], End::None));
            forger.sealing = Protection::new(forger.keys.update_tx_secret().unwrap()).unwrap();
        }
        assert_eq!(forger.sent(), [], "nothing to say yet, so a peer that asks on and on gets no answer to store");
        let wire = forger.sealed(b"new key\x17");
        assert_eq!(forger.read(&wire, BIG), (b"new key".to_vec(), End::None), "round {round}");
        forger.write(b"answer");
        forger.write(b"more");
        let expected = [(HANDSHAKE, NOT_REQUESTED.to_vec()), (DATA, b"answer".to_vec()), (DATA, b"more".to_vec())];
        assert_eq!(forger.sent(), expected, "round {round}");
    }

    let wire = forger.sealed(&[&NOT_REQUESTED[..], &[HANDSHAKE]].concat());
    assert_eq!(forger.read(&wire, BIG), (vec![], End::None));
    forger.write(b"as before");
    assert_eq!(forger.sent(), [(DATA, b"as before".to_vec())]);
}

#[test]
fn key_updates_without_data_are_bounded() {
    let mut forger = Forger::new();
    for n in 0..=IDLE_RECORDS_MAX {
        let wire = forger.sealed(&[&REQUESTED[..], &[HANDSHAKE]].concat());
        let alert = (n == IDLE_RECORDS_MAX).then_some(AlertDescription::UnexpectedMessage);
        let expected = if alert.is_some() { End::Failed(alert) } else { End::None };
        assert_eq!(forger.read(&wire, BIG), (vec![], expected), "{n}");
        forger.sealing = Protection::new(forger.keys.update_tx_secret().unwrap()).unwrap();
    }
}

/// Each costs us more than it costs the peer, so it gets a share of a read for them as anybody does for octets.
#[test]
fn key_updates_between_data_are_taken_a_few_a_read() {
    let mut forger = Forger::new();
    let rounds = 3 * usize::from(KEY_UPDATES_A_CALL);
    let mut wire = Vec::new();
    for _ in 0..rounds {
        wire.extend(forger.sealed(&[&NOT_REQUESTED[..], &[HANDSHAKE]].concat()));
        forger.sealing = Protection::new(forger.keys.update_tx_secret().unwrap()).unwrap();
        wire.extend(forger.sealed(b"x\x17"));
    }
    forger.ours.socket_mut().inbound.extend(&wire);
    let (mut got, mut into) = (Vec::new(), vec![0; BIG]);
    loop {
        match forger.ours.read(&mut forger.scratch, &mut into).unwrap() {
            Read::Data { n, drained } => {
                assert!(n <= usize::from(KEY_UPDATES_A_CALL), "{n}");
                got.push(n);
                if drained {
                    break;
                }
            }
            Read::Eof { .. } => panic!("{got:?}"),
        }
    }
    assert_eq!(got.iter().sum::<usize>(), rounds);
}

#[test]
fn what_ends_our_direction_passes_the_key_update_we_owe_and_no_alert_follows_it() {
    let mut forger = Forger::new();
    let wire = forger.sealed(&[&REQUESTED[..], &[HANDSHAKE]].concat());
    assert_eq!(forger.read(&wire, BIG), (vec![], End::None));
    forger.sealing = Protection::new(forger.keys.update_tx_secret().unwrap()).unwrap();
    let sent = forger.ours.socket().outbound.len();
    forger.ours.socket_mut().outbound_max = sent;
    assert!(!forger.ours.close_write(&mut forger.scratch).unwrap(), "blocked");
    let mut wire = forger.sealed(b"forged\x17");
    *wire.last_mut().unwrap() ^= 1;
    forger.ours.socket_mut().inbound.extend(&wire);
    let error = forger.ours.read(&mut forger.scratch, &mut [0; 100]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    forger.ours.socket_mut().outbound_max = usize::MAX;
    assert!(forger.ours.close_write(&mut forger.scratch).unwrap());
    assert_eq!(forger.sent(), [(ALERT, vec![1, 0])], "close_notify, under the old key, and nothing behind it");
}

#[test]
fn a_key_is_changed_before_its_records_are_too_many() {
    let mut forger = Forger::new();
    let Engine::Records(records) = forger.ours.engine_mut() else { unreachable!() };
    records.sealing.sequence = RECORDS_A_KEY - 1;
    forger.opening.sequence = RECORDS_A_KEY - 1;
    forger.write(b"the last");
    forger.write(&[b'x'; RECORD_OCTETS_MAX + 1]);
    let sent: Vec<_> = forger.sent().into_iter().map(|(content_type, content)| (content_type, content.len())).collect();
    assert_eq!(sent, [(DATA, 8), (HANDSHAKE, 5), (DATA, RECORD_OCTETS_MAX), (DATA, 1)]);
}

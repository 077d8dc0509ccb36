//! When records become ours, and when they stay with rustls.

use super::{
    super::record_layer::Protection,
    forger::{DATA, End, Forger, HANDSHAKE, NOT_REQUESTED, REQUESTED},
    *,
};

/// rustls has a KeyUpdate to answer before we take over, whenever it comes: the answer must not be lost.
#[test]
fn a_key_update_before_the_records_are_ours_is_answered() {
    for tickets in [0, 1] {
        for writes in 0..=WRITES_BY_RUSTLS {
            let mut config = our_server();
            Arc::make_mut(&mut config).send_tls13_tickets = tickets;
            let ours = TlsStream::server(SimSocket::new(), config).unwrap();
            let mut pair = Pair::new(ours, peer_client(&TLS13, &[]), BIG);
            pair.turn().unwrap();
            assert!(!pair.peer.is_handshaking() && pair.ours.is_handshaking());
            if writes > 0 {
                pair.turn().unwrap();
            }
            for _ in 0..writes {
                pair.write(b"heard").unwrap();
            }
            pair.peer.refresh_traffic_keys().unwrap();
            pair.peer.writer().write_all(b"under the second key").unwrap();
            pair.turn().unwrap();
            assert_eq!(pair.read, b"under the second key");
            for _ in writes..WRITES_BY_RUSTLS + 2 {
                pair.write(b"heard").unwrap();
                pair.turn().unwrap();
            }
            assert!(pair.is_without_rustls());
            assert_eq!(
                pair.peer_read,
                b"heard".repeat(usize::from(WRITES_BY_RUSTLS) + 2),
                "{tickets} tickets, {writes} writes"
            );
        }
    }
}

/// rustls has half a KeyUpdate, decrypted: it must have the other half too.
#[test]
fn half_a_handshake_message_keeps_the_records_with_rustls() {
    let mut forger = Forger::behind(1);
    let [first, second] = [&REQUESTED[..2], &REQUESTED[2..]].map(|half| [half, &[HANDSHAKE]].concat());
    let wire = forger.sealed(&first);
    assert_eq!(forger.read(&wire, BIG), (vec![], End::None));
    for _ in 0..2 * WRITES_BY_RUSTLS {
        forger.write(b"x");
    }
    assert!(!forger.is_without_rustls());
    let wire = forger.sealed(&second);
    assert_eq!(forger.read(&wire, BIG), (vec![], End::None));
    forger.sent();
    for _ in 0..WRITES_BY_RUSTLS {
        forger.write(b"y");
    }
    assert!(forger.is_without_rustls());
    assert_eq!(forger.sent()[..2], [(HANDSHAKE, NOT_REQUESTED.to_vec()), (DATA, b"y".to_vec())]);
    forger.sealing = Protection::new(forger.keys.update_tx_secret().unwrap()).unwrap();
    let wire = forger.sealed(b"new key\x17");
    assert_eq!(forger.read(&wire, BIG), (b"new key".to_vec(), End::None));
}

#[test]
fn every_cipher_of_tls_1_3_is_ours() {
    for suite in [
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ] {
        let provider = CryptoProvider { cipher_suites: vec![suite], ..aws_lc_rs::default_provider() };
        let config = peer_client_config_with(provider, &TLS13, &[]);
        let peer = ClientConnection::new(Arc::new(config), localhost()).unwrap();
        let ours = TlsStream::server(SimSocket::new(), our_server()).unwrap();
        let mut pair = Pair::new(ours, peer.into(), BIG);
        for round in 1..20 {
            pair.peer.writer().write_all(&[round; 100]).unwrap();
            pair.turn().unwrap();
            let message = std::mem::take(&mut pair.read);
            pair.write(&message).unwrap();
        }
        pair.turn().unwrap();
        assert!(pair.is_without_rustls());
        let expected: Vec<u8> = (1..20).flat_map(|round| [round; 100]).collect();
        assert_eq!(pair.peer_read, expected, "{suite:?}");
    }
}

#[test]
fn who_keeps_the_keys_in_rustls_is_served_by_rustls() {
    for change in [
        |config: &mut ServerConfig| config.enable_secret_extraction = false,
        |config: &mut ServerConfig| {
            config.max_fragment_size = Some(512);
        },
    ] {
        let mut config = our_server();
        change(Arc::make_mut(&mut config));
        let ours = TlsStream::server(SimSocket::new(), config).unwrap();
        let mut pair = Pair::new(ours, peer_client(&TLS13, &[]), BIG);
        for _ in 0..3 {
            pair.turn().unwrap();
        }
        for _ in 0..WRITES_BY_RUSTLS {
            pair.write(&[7; 1000]).unwrap();
        }
        pair.wire_to_peer();
        assert_eq!(pair.peer_read, [7; 1000].repeat(WRITES_BY_RUSTLS.into()));
        assert!(!pair.is_without_rustls());
    }
}

//! Octets as `Sec-WebSocket-Extensions` (RFC 6455 §9.1, RFC 7692 §5, §7.1): no panic; lines mean the same as one line with
//! commas; what we answer to an offer is legal to a client that made it, and both then mean the same; what we take from a
//! server was offered.

use wslab::proto::{
    deflate::{DeflateConfig, DeflateMode, negotiation},
    handshake::extensions::{Offer, offers},
};

/// The offers as one line of the plainest form.
fn plain(offers: &[Offer<'_>]) -> String {
    let offer = |offer: &Offer<'_>| {
        let params = offer.params.iter().map(|param| match &param.value {
            None => format!("; {}", param.name),
            Some(value) => format!("; {}={value}", param.name),
        });
        [offer.name.to_owned()].into_iter().chain(params).collect::<String>()
    };
    offers.iter().map(offer).collect::<Vec<_>>().join(", ")
}

fn config(mode: DeflateMode, bits: u8) -> DeflateConfig {
    DeflateConfig { mode, window_bits: 9 + bits % 7, ..DeflateConfig::DEFAULT }
}

/// Whether some offer holds that parameter.
fn has(offers: &[Offer<'_>], name: &str) -> bool {
    offers.iter().any(|offer| offer.params.iter().any(|param| param.name == name))
}

/// Our answer as a server.
fn check_server(offered: &[Offer<'_>], config: &DeflateConfig) {
    let Some((agreed, answer)) = negotiation::accept(offered, config) else { return };
    assert_ne!(config.mode, DeflateMode::Off);
    assert!((9..=15).contains(&agreed.send_window_bits) && agreed.send_window_bits <= config.window_bits);
    let answered = offers([answer.as_bytes()]).expect("our own answer");
    assert_eq!(plain(&answered), answer, "in the plainest form");
    assert_eq!((answered.len(), answered[0].name), (1, negotiation::NAME));
    assert_eq!(has(&answered, "server_no_context_takeover"), !agreed.send_takeover);
    assert!(!has(&answered, "client_max_window_bits"), "our inflaters are of one size");
    assert!(!has(&answered, "server_max_window_bits") || has(offered, "server_max_window_bits"), "unasked: {answer}");
    // A client that keeps contexts where it may.
    let client = DeflateConfig { mode: DeflateMode::Takeover, ..DeflateConfig::DEFAULT };
    let seen = negotiation::check(&answered, &client).expect("legal").expect("agreed");
    assert_eq!(seen.receive_takeover, agreed.send_takeover);
    assert_eq!(seen.send_takeover, agreed.receive_takeover);
}

/// What we make of it as a client.
fn check_client(answered: &[Offer<'_>], config: &DeflateConfig) {
    let ours = answered.iter().filter(|answer| answer.name == negotiation::NAME).count();
    match negotiation::check(answered, config) {
        Ok(None) => assert_eq!(ours, 0, "passed over"),
        Ok(Some(agreed)) => {
            assert_eq!(ours, 1);
            assert_ne!(config.mode, DeflateMode::Off);
            assert!(config.mode == DeflateMode::Takeover || !(agreed.send_takeover || agreed.receive_takeover));
            assert!((9..=15).contains(&agreed.send_window_bits) && agreed.send_window_bits <= config.window_bits);
        }
        Err(_) => assert!(ours > 0),
    }
}

/// Panics where the law is broken. The first octet chooses our window; lines end at `\n`.
pub(crate) fn check(input: &[u8]) {
    let Some((&bits, input)) = input.split_first() else { return };
    let lines: Vec<&[u8]> = input.split(|octet| *octet == b'\n').collect();
    let Ok(read) = offers(lines.iter().copied()) else { return };
    assert!(!read.is_empty());
    let joined = lines.join(&b',');
    assert_eq!(offers([&joined[..]]).expect("legal line by line"), read, "lines and commas");
    let plain = plain(&read);
    assert_eq!(offers([plain.as_bytes()]).expect("the plainest form is legal"), read);
    for mode in [DeflateMode::Off, DeflateMode::On, DeflateMode::Takeover] {
        check_server(&read, &config(mode, bits));
        check_client(&read, &config(mode, bits));
    }
}

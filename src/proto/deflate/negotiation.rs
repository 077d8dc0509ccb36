//! The offer of permessage-deflate and its answer (RFC 7692 §5, §7.1). The header's grammar was read before.

use std::fmt::Write as _;

use super::config::{DeflateConfig, DeflateMode};
use crate::proto::handshake::extensions::Offer;

/// The extension's name (§7). Names of extensions are compared octet by octet.
pub const NAME: &str = "permessage-deflate";

const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// What both ends agreed on, as this end sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Our messages may refer to our earlier ones.
    pub send_takeover: bool,
    /// Our compressor's window, 9 to 15. (Agreed on 8, we compress with 9, which looks back no farther than 250 octets.)
    pub send_window_bits: u8,
    /// The peer's messages may refer to its earlier ones.
    pub receive_takeover: bool,
}

/// Why a server's answer is none to our offer (§7.1): the connection is to be failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// We did not offer the extension.
    #[error("permessage-deflate was not offered (RFC 7692 §5)")]
    NotOffered,
    /// More than one answer.
    #[error("permessage-deflate is answered twice (RFC 7692 §5)")]
    Repeated,
    /// §7.1: a parameter that is unknown, repeated, or has a value that it may not have.
    #[error("permessage-deflate is answered with an unknown, repeated or invalid parameter (RFC 7692 §7.1)")]
    Parameter,
    /// §7.1.1.1: who accepts the offer repeats the demand.
    #[error(
        "permessage-deflate is answered without server_no_context_takeover, which was demanded (RFC 7692 §7.1.1.1)"
    )]
    ServerContext,
}

/// Parameters as they were sent, each legal by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Params {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// `Some(None)`: without a value, as only an offer may have it.
    client_max_window_bits: Option<Option<u8>>,
}

impl Params {
    /// `None`: a parameter that is unknown, stands twice, has a value where none belongs, or another one than 8 to 15 (§7.1).
    fn read(offer: &Offer<'_>) -> Option<Params> {
        let mut params = Params::default();
        for param in &offer.params {
            match (param.name, param.value.as_deref()) {
                (SERVER_NO_CONTEXT_TAKEOVER, None) if !params.server_no_context_takeover => {
                    params.server_no_context_takeover = true;
                }
                (CLIENT_NO_CONTEXT_TAKEOVER, None) if !params.client_no_context_takeover => {
                    params.client_no_context_takeover = true;
                }
                (SERVER_MAX_WINDOW_BITS, Some(value)) if params.server_max_window_bits.is_none() => {
                    params.server_max_window_bits = Some(window_bits(value)?);
                }
                (CLIENT_MAX_WINDOW_BITS, None) if params.client_max_window_bits.is_none() => {
                    params.client_max_window_bits = Some(None);
                }
                (CLIENT_MAX_WINDOW_BITS, Some(value)) if params.client_max_window_bits.is_none() => {
                    params.client_max_window_bits = Some(Some(window_bits(value)?));
                }
                _ => return None,
            }
        }
        Some(params)
    }
}

/// §7.1.2: decimal, without leading zeros, 8 to 15.
fn window_bits(value: &str) -> Option<u8> {
    match value.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The server's side: the first offer that is legal, and what `Sec-WebSocket-Extensions` says to it.
///
/// An offer with anything unknown or invalid in it is declined (§7.1), the next one is looked at; a client that offered
/// nothing better talks to us uncompressed. The answer says nothing that was not offered, but for one thing: with
/// [`DeflateMode::On`] it asks for no context in either direction, which every client has to understand (§7.1.1), and of
/// those in use does. A window size that was not offered is never told, since there are clients that refuse it.
///
/// ```
/// use wslab::proto::{deflate::{DeflateConfig, negotiation}, handshake::extensions::offers};
///
/// let offers = offers([&b"permessage-deflate; server_max_window_bits=10"[..]])?;
/// let (agreed, answer) = negotiation::accept(&offers, &DeflateConfig::default()).unwrap();
/// assert_eq!(agreed.send_window_bits, 10);
/// assert!(answer.ends_with("; server_max_window_bits=10"));
/// # Ok::<(), wslab::proto::handshake::token::Malformed>(())
/// ```
pub fn accept(offers: &[Offer<'_>], config: &DeflateConfig) -> Option<(Agreed, String)> {
    let takeover = match config.mode {
        DeflateMode::Off => return None,
        DeflateMode::On => false,
        DeflateMode::Takeover => true,
    };
    let offer = offers.iter().filter(|offer| offer.name == NAME).find_map(Params::read)?;
    let agreed = Agreed {
        // §7.1.1.1: accepting the offer is accepting the demand.
        send_takeover: takeover && !offer.server_no_context_takeover,
        send_window_bits: send_window_bits(config, offer.server_max_window_bits),
        // §7.1.1.2: in an offer a hint that it has no context to keep, which spares us a window if we say so too.
        receive_takeover: takeover && !offer.client_no_context_takeover,
    };
    let mut answer = NAME.to_owned();
    for (name, is_said) in
        [(SERVER_NO_CONTEXT_TAKEOVER, !agreed.send_takeover), (CLIENT_NO_CONTEXT_TAKEOVER, !agreed.receive_takeover)]
    {
        if is_said {
            answer.extend(["; ", name]);
        }
    }
    if let Some(offered) = offer.server_max_window_bits {
        // §7.1.2.1: at most what was offered. An 8 is kept, and a 9 that only we want does not become one.
        let bits = offered.min(agreed.send_window_bits);
        // Writing to a string does not fail.
        let _ = write!(answer, "; {SERVER_MAX_WINDOW_BITS}={bits}");
    }
    // §7.1.2.2: client_max_window_bits needs no answer. Our inflaters are of one size, so a smaller window gains nothing.
    Some((agreed, answer))
}

/// The client's side: what to offer. `None`: nothing.
pub fn offer(config: &DeflateConfig) -> Option<&'static str> {
    match config.mode {
        DeflateMode::Off => None,
        DeflateMode::On => {
            Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits")
        }
        DeflateMode::Takeover => Some("permessage-deflate; client_max_window_bits"),
    }
}

/// The client's side: judges what the server answered to [`offer`]. `Ok(None)`: it declined.
///
/// # Errors
/// See [`BadAnswer`].
pub fn check(answers: &[Offer<'_>], config: &DeflateConfig) -> Result<Option<Agreed>, BadAnswer> {
    let mut answers = answers.iter().filter(|answer| answer.name == NAME);
    let Some(answer) = answers.next() else { return Ok(None) };
    if config.mode == DeflateMode::Off {
        return Err(BadAnswer::NotOffered);
    }
    if answers.next().is_some() {
        return Err(BadAnswer::Repeated);
    }
    let answer = Params::read(answer).ok_or(BadAnswer::Parameter)?;
    let client_max_window_bits = match answer.client_max_window_bits {
        None => None,
        // §7.1.2.2: an answer has a value.
        Some(None) => return Err(BadAnswer::Parameter),
        Some(bits) => bits,
    };
    let takeover = config.mode == DeflateMode::Takeover;
    if !takeover && !answer.server_no_context_takeover {
        return Err(BadAnswer::ServerContext);
    }
    // §7.1.2.1: server_max_window_bits may come unasked; it is the server's promise, and no concern of our inflaters.
    Ok(Some(Agreed {
        send_takeover: takeover && !answer.client_no_context_takeover,
        send_window_bits: send_window_bits(config, client_max_window_bits),
        receive_takeover: !answer.server_no_context_takeover,
    }))
}

/// Ours or the peer's limit, whichever is less; 9 is the least a compressor can do, and does for 8.
fn send_window_bits(config: &DeflateConfig, limit: Option<u8>) -> u8 {
    config.window_bits.min(limit.unwrap_or(15)).clamp(9, 15)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::proto::handshake::extensions::offers;

    const ON: DeflateConfig = DeflateConfig::DEFAULT;
    const TAKEOVER: DeflateConfig = DeflateConfig { mode: DeflateMode::Takeover, ..ON };

    /// The answer to `offer`, its parameters shortened: `s` and `c` no context takeover, a number the server's window.
    fn short_answer(offer: &str, config: &DeflateConfig) -> Option<String> {
        let (agreed, answer) = accept(&offers([offer.as_bytes()]).unwrap(), config)?;
        let mut short = Vec::new();
        for (index, part) in answer.split("; ").enumerate() {
            short.push(match part.split_once('=') {
                None if index == 0 => {
                    assert_eq!(part, NAME);
                    continue;
                }
                None if part == SERVER_NO_CONTEXT_TAKEOVER => "s",
                None if part == CLIENT_NO_CONTEXT_TAKEOVER => "c",
                Some((SERVER_MAX_WINDOW_BITS, bits)) => {
                    assert_eq!(agreed.send_window_bits, bits.parse::<u8>().unwrap().max(9));
                    bits
                }
                _ => panic!("{answer}"),
            });
        }
        assert_eq!(agreed.send_takeover, !short.contains(&"s"));
        assert_eq!(agreed.receive_takeover, !short.contains(&"c"));
        Some(short.join(" "))
    }

    #[test]
    fn the_first_legal_offer_is_accepted_and_others_are_declined() {
        #[rustfmt::skip]
        let rows: &[(&str, Option<&str>, Option<&str>)] = &[
            // offer, answer with `On`, answer with `Takeover`
            ("permessage-deflate", Some("s c"), Some("")),
            ("permessage-deflate; server_no_context_takeover", Some("s c"), Some("s")), // §7.1.1.1
            ("permessage-deflate; client_no_context_takeover", Some("s c"), Some("c")), // §7.1.1.2
            ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", Some("s c"), Some("s c")),
            ("permessage-deflate; client_max_window_bits", Some("s c"), Some("")), // §7.1.2.2: a hint
            ("permessage-deflate; client_max_window_bits=8", Some("s c"), Some("")),
            ("permessage-deflate; client_max_window_bits=15", Some("s c"), Some("")),
            ("permessage-deflate; server_max_window_bits=8", Some("s c 8"), Some("8")), // §7.1.2.1
            ("permessage-deflate; server_max_window_bits=9", Some("s c 9"), Some("9")),
            ("permessage-deflate; server_max_window_bits=15", Some("s c 15"), Some("15")),
            ("permessage-deflate; server_max_window_bits=\"10\"", Some("s c 10"), Some("10")), // §7.1: quoted
            ("permessage-deflate; server_max_window_bits=\"1\\2\"", Some("s c 12"), Some("12")),
            ("permessage-deflate;client_max_window_bits;server_max_window_bits=11", Some("s c 11"), Some("11")),
            // §7.1: declined
            ("permessage-deflate; unknown", None, None),
            ("permessage-deflate; unknown=1", None, None),
            ("permessage-deflate; Server_No_Context_Takeover", None, None),
            ("Permessage-Deflate", None, None),
            ("permessage-bzip2", None, None),
            ("x-webkit-deflate-frame", None, None),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", None, None),
            ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None, None),
            ("permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", None, None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits", None, None),
            ("permessage-deflate; client_max_window_bits; client_max_window_bits=10", None, None),
            ("permessage-deflate; client_max_window_bits=10; client_max_window_bits", None, None),
            ("permessage-deflate; server_no_context_takeover=1", None, None),
            ("permessage-deflate; client_no_context_takeover=true", None, None),
            ("permessage-deflate; server_max_window_bits", None, None),
            ("permessage-deflate; server_max_window_bits=7", None, None),
            ("permessage-deflate; server_max_window_bits=16", None, None),
            ("permessage-deflate; server_max_window_bits=0", None, None),
            ("permessage-deflate; server_max_window_bits=08", None, None),
            ("permessage-deflate; server_max_window_bits=010", None, None),
            ("permessage-deflate; server_max_window_bits=+9", None, None),
            ("permessage-deflate; server_max_window_bits=-9", None, None),
            ("permessage-deflate; server_max_window_bits=9.0", None, None),
            ("permessage-deflate; server_max_window_bits=0x9", None, None),
            ("permessage-deflate; server_max_window_bits=99999999999999999999", None, None),
            ("permessage-deflate; client_max_window_bits=7", None, None),
            ("permessage-deflate; client_max_window_bits=16", None, None),
            ("permessage-deflate; client_max_window_bits=a", None, None),
            // §5.2: in order of preference
            ("permessage-deflate; unknown, permessage-deflate; server_max_window_bits=12", Some("s c 12"), Some("12")),
            ("permessage-deflate; server_max_window_bits=10, permessage-deflate", Some("s c 10"), Some("10")),
            ("mux, permessage-deflate; client_no_context_takeover, x", Some("s c"), Some("c")),
            ("permessage-deflate; server_max_window_bits=16, permessage-deflate; server_max_window_bits=7", None, None),
            // Autobahn 12.x and 13.1, 13.2 … 13.7
            ("permessage-deflate; client_no_context_takeover; client_max_window_bits", Some("s c"), Some("c")),
            ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover", Some("s c"), Some("s c")),
            ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=9", Some("s c 9"), Some("c 9")),
            ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_max_window_bits=15", Some("s c 15"), Some("c 15")),
            ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; server_max_window_bits=9", Some("s c 9"), Some("s c 9")),
            ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; server_max_window_bits=15", Some("s c 15"), Some("s c 15")),
            ("permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover; server_max_window_bits=9, \
              permessage-deflate; client_no_context_takeover; client_max_window_bits; server_no_context_takeover, \
              permessage-deflate; client_no_context_takeover; client_max_window_bits", Some("s c 9"), Some("s c 9")),
        ];
        for &(offer, on, takeover) in rows {
            assert_eq!(short_answer(offer, &ON).as_deref(), on, "{offer}");
            assert_eq!(short_answer(offer, &TAKEOVER).as_deref(), takeover, "{offer}");
            assert_eq!(short_answer(offer, &DeflateConfig { mode: DeflateMode::Off, ..ON }), None, "{offer}");
        }
    }

    #[test]
    fn our_own_window_is_told_only_to_who_named_one() {
        let narrow = DeflateConfig { window_bits: 11, ..TAKEOVER };
        let agreed = |offer: &str| accept(&offers([offer.as_bytes()]).unwrap(), &narrow).unwrap();
        let (bare, answer) = agreed("permessage-deflate");
        assert_eq!((bare.send_window_bits, answer.as_str()), (11, "permessage-deflate"));
        let (named, answer) = agreed("permessage-deflate; server_max_window_bits=15");
        assert_eq!((named.send_window_bits, answer.as_str()), (11, "permessage-deflate; server_max_window_bits=11"));
        // Out of range counts as the nearest inside.
        for (ours, effective) in [(0, 9), (8, 9), (9, 9), (16, 15), (255, 15)] {
            assert_eq!(send_window_bits(&DeflateConfig { window_bits: ours, ..ON }, None), effective);
        }
    }

    #[test]
    fn an_answer_is_held_against_the_offer() {
        let agreed = |send_takeover, send_window_bits, receive_takeover| {
            Ok(Some(Agreed { send_takeover, send_window_bits, receive_takeover }))
        };
        type Judged = Result<Option<Agreed>, BadAnswer>;
        const PARAMETER: Judged = Err(BadAnswer::Parameter);
        #[rustfmt::skip]
        let rows: &[(&str, Judged, Judged)] = &[
            // answer, judged with `On`, judged with `Takeover`
            ("x", Ok(None), Ok(None)),
            ("permessage-deflate", Err(BadAnswer::ServerContext), agreed(true, 15, true)), // §7.1.1.1
            ("permessage-deflate; server_no_context_takeover", agreed(false, 15, false), agreed(true, 15, false)),
            ("permessage-deflate; client_no_context_takeover", Err(BadAnswer::ServerContext), agreed(false, 15, true)),
            ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", agreed(false, 15, false), agreed(false, 15, false)),
            ("permessage-deflate; server_no_context_takeover; client_max_window_bits=10", agreed(false, 10, false), agreed(true, 10, false)),
            ("permessage-deflate; server_no_context_takeover; client_max_window_bits=8", agreed(false, 9, false), agreed(true, 9, false)),
            ("permessage-deflate; server_no_context_takeover; client_max_window_bits=\"9\"", agreed(false, 9, false), agreed(true, 9, false)),
            ("permessage-deflate; server_no_context_takeover; server_max_window_bits=8", agreed(false, 15, false), agreed(true, 15, false)), // §7.1.2.1
            // §7.1
            ("permessage-deflate; server_no_context_takeover; client_max_window_bits", PARAMETER, PARAMETER), // §7.1.2.2
            ("permessage-deflate; server_no_context_takeover; client_max_window_bits=7", PARAMETER, PARAMETER),
            ("permessage-deflate; server_no_context_takeover; client_max_window_bits=16", PARAMETER, PARAMETER),
            ("permessage-deflate; server_no_context_takeover; server_max_window_bits", PARAMETER, PARAMETER),
            ("permessage-deflate; server_no_context_takeover; server_max_window_bits=16", PARAMETER, PARAMETER),
            ("permessage-deflate; server_no_context_takeover=1", PARAMETER, PARAMETER),
            ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", PARAMETER, PARAMETER),
            ("permessage-deflate; server_no_context_takeover; x", PARAMETER, PARAMETER),
            ("permessage-deflate; server_no_context_takeover, permessage-deflate", Err(BadAnswer::Repeated), Err(BadAnswer::Repeated)),
        ];
        for &(answer, on, takeover) in rows {
            let answers = offers([answer.as_bytes()]).unwrap();
            assert_eq!(check(&answers, &ON), on, "{answer}");
            assert_eq!(check(&answers, &TAKEOVER), takeover, "{answer}");
        }
        let answers = offers([&b"permessage-deflate"[..]]).unwrap();
        assert_eq!(check(&answers, &DeflateConfig { mode: DeflateMode::Off, ..ON }), Err(BadAnswer::NotOffered));
        assert_eq!(check(&[], &ON), Ok(None));
    }

    #[test]
    fn what_our_client_offers_our_server_accepts_and_our_client_likes_the_answer() {
        for client in [ON, TAKEOVER] {
            for server in [ON, TAKEOVER, DeflateConfig { window_bits: 9, ..TAKEOVER }] {
                let (theirs, answer) = accept(&offers([offer(&client).unwrap().as_bytes()]).unwrap(), &server).unwrap();
                let ours = check(&offers([answer.as_bytes()]).unwrap(), &client).unwrap().unwrap();
                assert_eq!(ours.receive_takeover, theirs.send_takeover, "{client:?} {server:?}");
                assert!(theirs.receive_takeover || !ours.send_takeover, "{client:?} {server:?}");
            }
        }
    }
}

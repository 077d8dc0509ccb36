//! Values of `wslab bench`'s options as a human writes them: `10k/s`, `10..100:10`, `64,1KiB`, `127.0.0.2-127.0.0.9`, `Name: value`.

use std::{net::IpAddr, num::NonZeroUsize};

use super::units::parse_size;
use crate::proto::handshake::{
    Request,
    token::{is_field_value, is_token},
};

/// The largest message: what the core takes by default.
pub(super) const MESSAGE_BYTES_MAX: u64 = 16 << 20;
/// Connections at most: as many as descriptors can be had on a large machine.
const CONNECTIONS_MAX: usize = 1_000_000;
/// Steps of a ramp, and source addresses, at most.
const STEPS_MAX: usize = 1000;

/// `10k/s`, `2.5M/s`, `500/s`: a second is the only unit, and may be left out.
pub(super) fn rate(text: &str) -> Result<f64, &'static str> {
    const EXPECTED: &str = "expected messages a second such as \"500/s\" or \"10k/s\"";
    let number = text.trim().strip_suffix("/s").unwrap_or(text.trim());
    let (number, factor) = match number.as_bytes().last() {
        Some(b'k') => (&number[..number.len() - 1], 1e3),
        Some(b'M') => (&number[..number.len() - 1], 1e6),
        _ => (number, 1.0),
    };
    let plain = number.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    match number.parse::<f64>() {
        Ok(rate) if plain && rate > 0.0 => Ok(rate * factor),
        _ => Err(EXPECTED),
    }
}

/// `5M`, `100k`, `20`: a number of things.
pub(super) fn count(text: &str) -> Result<u64, &'static str> {
    const EXPECTED: &str = "expected a whole number above zero such as \"1000\" or \"100k\"";
    let (number, factor) = match text.as_bytes().last() {
        Some(b'k') => (&text[..text.len() - 1], 1_000),
        Some(b'M') => (&text[..text.len() - 1], 1_000_000),
        _ => (text, 1),
    };
    let plain = number.bytes().all(|octet| octet.is_ascii_digit());
    number.parse::<u64>().ok().filter(|&n| plain && n > 0).and_then(|n| n.checked_mul(factor)).ok_or(EXPECTED)
}

/// The numbers of connections of a run: `64`; `A..B:S`, which is A, A + S, A + 2 S and so on, up to B; or a list, `10,100,1k`.
/// They ascend, so that none is measured twice and a ramp's end means something.
pub(super) fn connections(text: &str) -> Result<Vec<NonZeroUsize>, String> {
    let expected = || {
        format!(
            "expected a number such as \"64\", a ramp \"10..100:10\", or an ascending list \"10,100,1k\", from 1 to \
             {CONNECTIONS_MAX} in at most {STEPS_MAX} steps"
        )
    };
    let parts = text.split(',').map(ramp).collect::<Option<Vec<_>>>().ok_or_else(expected)?;
    let steps = parts.concat();
    let ascends = steps.iter().zip(steps.iter().skip(1)).all(|(one, next)| one < next);
    if ascends && steps.len() <= STEPS_MAX { Ok(steps) } else { Err(expected()) }
}

/// One part of such a list.
fn ramp(text: &str) -> Option<Vec<NonZeroUsize>> {
    let number = |text: &str| count(text).ok().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= CONNECTIONS_MAX);
    let Some((first, rest)) = text.split_once("..") else {
        return number(text).and_then(NonZeroUsize::new).map(|n| vec![n]);
    };
    let (last, step) = rest.split_once(':')?;
    match (number(first)?, number(last)?, number(step)?) {
        (first, last, step) if first <= last && (last - first) / step < STEPS_MAX => {
            Some((first..=last).step_by(step).filter_map(NonZeroUsize::new).collect())
        }
        _ => None,
    }
}

/// One size: `64`, `64B`, `1KiB`. A bare number is octets.
pub(super) fn size(text: &str) -> Result<usize, &'static str> {
    let octets = text.trim().parse::<u64>().ok().filter(|_| text.trim().bytes().all(|octet| octet.is_ascii_digit()));
    octets
        .or_else(|| parse_size(text))
        .filter(|&octets| octets <= MESSAGE_BYTES_MAX)
        .map(|octets| octets as usize)
        .ok_or("expected a size up to 16MiB such as \"64\" or \"1KiB\"")
}

/// The same, and not zero.
pub(super) fn frame_size(text: &str) -> Result<NonZeroUsize, &'static str> {
    size(text).ok().and_then(NonZeroUsize::new).ok_or("expected octets of a frame such as \"125\" or \"1KiB\"")
}

/// `127.0.0.2`, or `127.0.0.2-127.0.0.9`, both ends included.
pub(super) fn sources(text: &str) -> Result<Vec<IpAddr>, String> {
    let expected = || {
        format!(
            "expected an address of this machine, or a range such as \"127.0.0.2-127.0.0.9\" of at most {STEPS_MAX}"
        )
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(IpAddr::V4(first)), Ok(IpAddr::V4(last))) => {
            let (first, last) = (u32::from(first), u32::from(last));
            let fits = first <= last && ((last - first) as usize) < STEPS_MAX;
            fits.then(|| (first..=last).map(|bits| IpAddr::V4(bits.into())).collect()).ok_or_else(expected)
        }
        (Ok(IpAddr::V6(first)), Ok(IpAddr::V6(last))) => {
            let (first, last) = (u128::from(first), u128::from(last));
            let fits = first <= last && last - first < STEPS_MAX as u128;
            fits.then(|| (first..=last).map(|bits| IpAddr::V6(bits.into())).collect()).ok_or_else(expected)
        }
        _ => Err(expected()),
    }
}

/// `Name: value`, as the handshake takes it beside its own headers.
pub(super) fn header(text: &str) -> Result<(String, String), String> {
    let expected = || "expected \"Name: value\" in printable ASCII".to_owned();
    let (name, value) = text.split_once(':').map(|(name, value)| (name, value.trim())).ok_or_else(expected)?;
    if !is_token(name.as_bytes()) || !is_field_value(value.as_bytes()) {
        return Err(expected());
    }
    let request = Request { headers: &[(name, value)], ..Request::default() };
    request.write(&mut Vec::new()).map_err(|_| {
        format!(
            "the handshake writes {name} itself, or goes without: leave it out (the URL says the host, --subprotocol \
             and --deflate what is offered)"
        )
    })?;
    Ok((name.to_owned(), value.to_owned()))
}

/// One subprotocol (RFC 6455 §4.1, 10).
pub(super) fn subprotocol(text: &str) -> Result<String, &'static str> {
    is_token(text.as_bytes()).then(|| text.to_owned()).ok_or("expected a token such as \"chat.v1\", one an option")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_counts() {
        for (text, expected) in [
            ("10k/s", Some(10_000.0)),
            ("10k", Some(10_000.0)),
            ("500/s", Some(500.0)),
            ("0.5/s", Some(0.5)),
            ("2.5M/s", Some(2_500_000.0)),
            ("0", None),
            ("-1/s", None),
            ("1e3", None),
            ("inf", None),
            ("10k/m", None),
            ("", None),
            ("k", None),
        ] {
            assert_eq!(rate(text).ok(), expected, "{text:?}");
        }
        for (text, expected) in [
            ("20", Some(20)),
            ("5M", Some(5_000_000)),
            ("100k", Some(100_000)),
            ("0", None),
            ("+1", None),
            ("1.5k", None),
            ("", None),
        ] {
            assert_eq!(count(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn connections_are_one_number_a_ramp_or_a_list() {
        for (text, expected) in [
            ("64", Some(vec![64])),
            ("1..10:3", Some(vec![1, 4, 7, 10])),
            ("5..5:1", Some(vec![5])),
            ("10..100:50", Some(vec![10, 60])),
            ("10,30,1k", Some(vec![10, 30, 1_000])),
            ("1,10..30:10,100", Some(vec![1, 10, 20, 30, 100])),
            ("10,10", None),
            ("10,5", None),
            ("10..30:10,20", None),
            ("10,", None),
            (",", None),
            ("1..1000:1,1001", None),
            ("0", None),
            ("1..10", None),
            ("10..1:1", None),
            ("1..10:0", None),
            ("1..1000000:1", None),
            ("2000000", None),
        ] {
            let numbers = connections(text).ok().map(|steps| steps.iter().map(|step| step.get()).collect::<Vec<_>>());
            assert_eq!(numbers, expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_sources_and_headers() {
        for (text, expected) in [
            ("64", Some(64)),
            ("64B", Some(64)),
            ("1KiB", Some(1024)),
            ("0", Some(0)),
            ("17MiB", None),
            ("-1", None),
            ("x", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text:?}");
        }
        assert!(frame_size("0").is_err() && frame_size("1").is_ok());
        assert_eq!(sources("127.0.0.2-127.0.0.9").unwrap().len(), 8);
        assert_eq!(sources("::1").unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        for text in ["127.0.0.9-127.0.0.2", "::1-127.0.0.1", "localhost", "10.0.0.0-10.255.255.255", ""] {
            assert!(sources(text).is_err(), "{text:?}");
        }
        assert_eq!(header("Authorization: Bearer x:y").unwrap(), ("Authorization".to_owned(), "Bearer x:y".to_owned()));
        assert_eq!(header("X-Empty:").unwrap(), ("X-Empty".to_owned(), String::new()));
        for text in [
            "none",
            ": x",
            "a b: x",
            "X: \u{e4}",
            "X: a\r\nY: b",
            "HOST: x",
            "Upgrade: h2c",
            "Sec-WebSocket-Version: 8",
        ] {
            assert!(header(text).is_err(), "{text:?}");
        }
        assert!(subprotocol("chat.v1").is_ok() && subprotocol("a, b").is_err() && subprotocol("").is_err());
    }
}

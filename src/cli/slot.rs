//! The kinds of value an option can have: how its words are read into [`Options`], and shown as TOML.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use super::{
    options::{Format, Options},
    units::{parse_duration, parse_size, show_duration, show_size},
};
use crate::{
    net::{Network, network::NetworkError},
    proto::{deflate::DeflateMode, handshake::Subprotocols},
    server::{Congestion, ProxyProtocol},
};

/// Where in [`Options`] a value lives.
type At<T> = fn(&mut Options) -> &mut T;

/// The kind of a value and the place where it lives.
#[derive(Clone, Copy)]
pub(super) enum Slot {
    Addresses(At<Vec<SocketAddr>>),
    Networks(At<Vec<Network>>),
    ProxyProtocol(At<ProxyProtocol>),
    Congestion(At<Congestion>),
    AddressOrOff(At<Option<SocketAddr>>),
    Switch(At<bool>),
    /// From 1 to the largest value given.
    Count(usize, At<usize>),
    /// The same, or none.
    CountOrOff(usize, At<Option<usize>>),
    Backlog(At<i32>),
    Verbosity(At<usize>),
    /// Octets of memory, above zero.
    Size(At<usize>),
    /// Octets on the wire, above zero.
    WireSize(At<u64>),
    /// Above zero.
    Time(At<Duration>),
    TimeOrZero(At<Duration>),
    TimeOrOff(At<Option<Duration>>),
    PathOrLocal(At<Option<PathBuf>>),
    Origins(At<Option<Vec<String>>>),
    Paths(At<Option<Vec<String>>>),
    Subprotocols(At<Subprotocols>),
    HeaderOrOff(At<Option<String>>),
    Deflate(At<DeflateMode>),
    /// From the smallest to the largest value given.
    Level(u8, u8, At<u8>),
    SizeOrZero(At<usize>),
    Format(At<Format>),
    Filter(At<String>),
}

/// What was wrong with the words: the first bad one (none: their number), and what was expected.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reject {
    pub word: Option<String>,
    pub expected: String,
}

impl Slot {
    /// Several words make one value.
    pub(super) fn is_list(&self) -> bool {
        matches!(
            self,
            Slot::Addresses(_) | Slot::Networks(_) | Slot::Origins(_) | Slot::Paths(_) | Slot::Subprotocols(_)
        )
    }

    /// Reads the words into their place.
    pub(super) fn set(&self, options: &mut Options, words: &[String]) -> Result<(), Reject> {
        let expected = self.expected();
        let bad = |word: &str| Reject { word: Some(word.to_owned()), expected: format!("expected {expected}") };
        let one = || match words {
            [word] => Ok(word.as_str()),
            _ => Err(Reject { word: None, expected: format!("expected {expected}") }),
        };
        let list = |keyword: &str, legal: fn(&str) -> bool| match words {
            [] => Err(Reject { word: None, expected: format!("expected {expected}") }),
            [word] if word == keyword => Ok(None),
            words => match words.iter().find(|word| *word == keyword || !legal(word)) {
                Some(word) => Err(bad(word)),
                None => Ok(Some(words.to_vec())),
            },
        };
        match self {
            Slot::Addresses(at) => {
                *at(options) = match words {
                    [word] if word == "off" => Vec::new(),
                    words => words.iter().map(|word| word.parse().map_err(|_| bad(word))).collect::<Result<_, _>>()?,
                }
            }
            Slot::Networks(at) => {
                let network = |word: &String| {
                    word.parse().map_err(|error| match error {
                        NetworkError::Syntax => bad(word),
                        NetworkError::HostBits(_) => Reject { word: Some(word.clone()), expected: error.to_string() },
                    })
                };
                *at(options) = match words {
                    [] => return Err(Reject { word: None, expected: format!("expected {expected}") }),
                    words => words.iter().map(network).collect::<Result<_, _>>()?,
                }
            }
            Slot::ProxyProtocol(at) => {
                *at(options) = match one()? {
                    "off" => ProxyProtocol::Off,
                    "on" => ProxyProtocol::On,
                    "require" => ProxyProtocol::Require,
                    word => return Err(bad(word)),
                }
            }
            Slot::Congestion(at) => {
                *at(options) = match one()? {
                    "auto" => Congestion::Auto,
                    "system" => Congestion::System,
                    word if Congestion::is_name(word) => Congestion::Named(word.to_owned()),
                    word => return Err(bad(word)),
                }
            }
            Slot::AddressOrOff(at) => {
                *at(options) = match one()? {
                    "off" => None,
                    word => Some(word.parse().map_err(|_| bad(word))?),
                }
            }
            Slot::Switch(at) => *at(options) = one()?.parse().map_err(|_| bad(words[0].as_str()))?,
            Slot::Count(max, at) => *at(options) = parse_count(one()?, 1, *max).ok_or_else(|| bad(&words[0]))?,
            Slot::CountOrOff(max, at) => {
                *at(options) = match one()? {
                    "off" => None,
                    word => Some(parse_count(word, 1, *max).ok_or_else(|| bad(word))?),
                }
            }
            Slot::Backlog(at) => {
                *at(options) =
                    parse_count(one()?, 1, 65_535).and_then(|n| i32::try_from(n).ok()).ok_or_else(|| bad(&words[0]))?
            }
            Slot::Verbosity(at) => *at(options) = parse_count(one()?, 0, 2).ok_or_else(|| bad(&words[0]))?,
            Slot::Size(at) => {
                let octets = parse_size(one()?).and_then(|octets| usize::try_from(octets).ok());
                *at(options) = octets.filter(|&octets| octets > 0).ok_or_else(|| bad(&words[0]))?;
            }
            Slot::WireSize(at) => {
                *at(options) = parse_size(one()?).filter(|&octets| octets > 0).ok_or_else(|| bad(&words[0]))?
            }
            Slot::Time(at) => *at(options) = parse_above_zero(one()?).ok_or_else(|| bad(&words[0]))?,
            Slot::TimeOrZero(at) => *at(options) = parse_duration(one()?).ok_or_else(|| bad(&words[0]))?,
            Slot::TimeOrOff(at) => {
                *at(options) = match one()? {
                    "off" => None,
                    word => Some(parse_above_zero(word).ok_or_else(|| bad(word))?),
                }
            }
            Slot::PathOrLocal(at) => {
                *at(options) = match one()? {
                    "local" => None,
                    "" => return Err(bad("")),
                    word => Some(PathBuf::from(word)),
                }
            }
            Slot::Origins(at) => *at(options) = list("any", is_origin)?,
            Slot::Paths(at) => *at(options) = list("any", is_path)?,
            Slot::Subprotocols(at) => {
                *at(options) = match words {
                    [word] if word == "none" => Subprotocols::None,
                    _ => list("first", |word| word != "none" && is_token(word))?
                        .map_or(Subprotocols::First, Subprotocols::List),
                }
            }
            Slot::HeaderOrOff(at) => {
                *at(options) = match one()? {
                    "off" => None,
                    word if is_header_value(word) => Some(word.to_owned()),
                    word => return Err(bad(word)),
                }
            }
            Slot::Deflate(at) => {
                *at(options) = match one()? {
                    "off" => DeflateMode::Off,
                    "on" => DeflateMode::On,
                    "takeover" => DeflateMode::Takeover,
                    word => return Err(bad(word)),
                }
            }
            Slot::Level(min, max, at) => {
                *at(options) = parse_count(one()?, usize::from(*min), usize::from(*max))
                    .and_then(|level| u8::try_from(level).ok())
                    .ok_or_else(|| bad(&words[0]))?;
            }
            Slot::SizeOrZero(at) => {
                let octets = parse_size(one()?).and_then(|octets| usize::try_from(octets).ok());
                *at(options) = octets.ok_or_else(|| bad(&words[0]))?;
            }
            Slot::Format(at) => {
                *at(options) = match one()? {
                    "text" => Format::Text,
                    "json" => Format::Json,
                    word => return Err(bad(word)),
                }
            }
            Slot::Filter(at) => {
                let word = one()?;
                if !is_filter(word) {
                    return Err(bad(word));
                }
                word.clone_into(at(options));
            }
        }
        Ok(())
    }

    /// What a value of this kind looks like, with an example.
    fn expected(&self) -> String {
        match self {
            Slot::Addresses(_) | Slot::AddressOrOff(_) => {
                "an address and port such as \"127.0.0.1:8888\" or \"[::1]:8888\", or \"off\"".to_owned()
            }
            Slot::Networks(_) => "networks such as \"10.0.0.0/8\" or \"2001:db8::/32\", or addresses".to_owned(),
            Slot::ProxyProtocol(_) => "\"off\", \"on\" or \"require\"".to_owned(),
            Slot::Congestion(_) => "\"auto\", \"system\", or a name such as \"cubic\"".to_owned(),
            Slot::Switch(_) => "true or false".to_owned(),
            Slot::Count(max, _) => format!("a whole number from 1 to {max}"),
            Slot::CountOrOff(max, _) => format!("a whole number from 1 to {max}, or \"off\""),
            Slot::Backlog(_) => "a whole number from 1 to 65535".to_owned(),
            Slot::Verbosity(_) => "0, 1 or 2".to_owned(),
            Slot::Size(_) | Slot::WireSize(_) => "a size above zero, such as \"64KiB\"".to_owned(),
            Slot::Time(_) => "a duration above zero, such as \"60s\"".to_owned(),
            Slot::TimeOrZero(_) => "a duration such as \"10s\" or \"0s\"".to_owned(),
            Slot::TimeOrOff(_) => "a duration such as \"60s\", or \"off\"".to_owned(),
            Slot::PathOrLocal(_) => "the path of a PEM file, or \"local\"".to_owned(),
            Slot::Origins(_) => "origins such as \"https://example.org\", or \"any\"".to_owned(),
            Slot::Paths(_) => "paths such as \"/ws\", or \"any\"".to_owned(),
            Slot::Subprotocols(_) => "\"first\", \"none\", or names such as \"chat\"".to_owned(),
            Slot::HeaderOrOff(_) => "visible ASCII text, or \"off\"".to_owned(),
            Slot::Deflate(_) => "\"off\", \"on\" or \"takeover\"".to_owned(),
            Slot::Level(min, max, _) => format!("a whole number from {min} to {max}"),
            Slot::SizeOrZero(_) => "a size such as \"64B\" or \"0B\"".to_owned(),
            Slot::Format(_) => "\"text\" or \"json\"".to_owned(),
            Slot::Filter(_) => "a log filter such as \"info\" or \"wslab::conn=debug\"".to_owned(),
        }
    }

    /// The value as TOML; [`Slot::set`] reads its words back to the same value.
    pub(super) fn show(&self, options: &Options) -> String {
        let options = &mut options.clone();
        let or_word = |text: Option<String>, word: &str| quote(text.as_deref().unwrap_or(word));
        match self {
            Slot::Addresses(at) => match at(options).as_slice() {
                [] => quote("off"),
                addrs => show_list(addrs.iter().map(ToString::to_string)),
            },
            Slot::Networks(at) => show_list(at(options).iter().map(ToString::to_string)),
            Slot::ProxyProtocol(at) => quote(match at(options) {
                ProxyProtocol::Off => "off",
                ProxyProtocol::On => "on",
                ProxyProtocol::Require => "require",
            }),
            Slot::Congestion(at) => quote(match at(options) {
                Congestion::Auto => "auto",
                Congestion::System => "system",
                Congestion::Named(name) => name,
            }),
            Slot::AddressOrOff(at) => or_word(at(options).map(|addr| addr.to_string()), "off"),
            Slot::Switch(at) => at(options).to_string(),
            Slot::Count(_, at) | Slot::Verbosity(at) => at(options).to_string(),
            Slot::CountOrOff(_, at) => at(options).map_or_else(|| quote("off"), |count| count.to_string()),
            Slot::Backlog(at) => at(options).to_string(),
            Slot::Size(at) => quote(&show_size(*at(options) as u64)),
            Slot::WireSize(at) => quote(&show_size(*at(options))),
            Slot::Time(at) | Slot::TimeOrZero(at) => quote(&show_duration(*at(options))),
            Slot::TimeOrOff(at) => or_word(at(options).map(show_duration), "off"),
            Slot::PathOrLocal(at) => or_word(at(options).as_ref().map(|path| path.display().to_string()), "local"),
            Slot::Origins(at) | Slot::Paths(at) => match at(options) {
                None => quote("any"),
                Some(names) => show_list(names.iter().cloned()),
            },
            Slot::Subprotocols(at) => match at(options) {
                Subprotocols::First => quote("first"),
                Subprotocols::None => quote("none"),
                Subprotocols::List(names) => show_list(names.iter().cloned()),
            },
            Slot::HeaderOrOff(at) => or_word(at(options).clone(), "off"),
            Slot::Deflate(at) => quote(match at(options) {
                DeflateMode::Off => "off",
                DeflateMode::On => "on",
                DeflateMode::Takeover => "takeover",
            }),
            Slot::Level(_, _, at) => at(options).to_string(),
            Slot::SizeOrZero(at) => quote(&show_size(*at(options) as u64)),
            Slot::Format(at) => quote(match at(options) {
                Format::Text => "text",
                Format::Json => "json",
            }),
            Slot::Filter(at) => quote(at(options)),
        }
    }
}

/// A TOML string on one line.
pub(super) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn show_list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quote(&item)).collect::<Vec<_>>().join(", "))
}

fn parse_count(word: &str, min: usize, max: usize) -> Option<usize> {
    // `+5` is a number to Rust, but to nobody else.
    word.parse().ok().filter(|count| !word.starts_with('+') && (min..=max).contains(count))
}

fn parse_above_zero(word: &str) -> Option<Duration> {
    parse_duration(word).filter(|duration| !duration.is_zero())
}

/// What the filter would take a mistyped level for, a target, is told apart: ours begin with the crate's name.
fn is_filter(word: &str) -> bool {
    EnvFilter::try_new(word).is_ok()
        && word.split(',').map(str::trim).all(|directive| {
            directive.contains(['=', '[']) || directive.starts_with("wslab") || directive.parse::<LevelFilter>().is_ok()
        })
}

/// RFC 6454 §6.2: scheme, `://`, host and perhaps a port; no path. `null` is the opaque origin's name.
fn is_origin(word: &str) -> bool {
    word == "null"
        || word.split_once("://").is_some_and(|(scheme, host)| {
            !scheme.is_empty()
                && !host.is_empty()
                && host.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '?' | '#'))
        })
}

/// RFC 3986 §3.3, as far as it matters here: starts at the root, has no query.
fn is_path(word: &str) -> bool {
    word.starts_with('/') && word.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#'))
}

/// RFC 9110 §5.6.2.
fn is_token(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

/// RFC 9110 §5.5, visible ASCII and inner spaces only.
fn is_header_value(word: &str) -> bool {
    !word.is_empty() && word == word.trim() && word.chars().all(|c| c == ' ' || c.is_ascii_graphic())
}

//! How options must go together. A default gives way to what was chosen; two choices that contradict each other do not.

use std::time::Duration;

use super::{
    error::Error,
    options::Key,
    settings::{Origin, Settings},
};
use crate::{net::Network, server};

/// Adjusts defaults to what was chosen, then refuses what cannot work.
pub(super) fn check(settings: &mut Settings) -> Result<(), Error> {
    let is_default = |name| *settings.origin(name) == Origin::Default;
    let (frame_default, low_default) = (is_default("frame_max"), is_default("queue_low"));

    let limits = &mut settings.options.server.settings.limits;
    if frame_default {
        limits.frame_bytes_max = limits.frame_bytes_max.min(limits.message_bytes_max);
    }
    if low_default && limits.queue_low_bytes >= limits.queue_high_bytes {
        limits.queue_low_bytes = limits.queue_high_bytes / 4;
    }

    let limits = &settings.options.server.settings.limits;
    let timeouts = &settings.options.server.settings.timeouts;
    if limits.frame_bytes_max > limits.message_bytes_max {
        return Err(settings.contradiction(
            ("frame_max", "may not exceed"),
            ("message_max", "may not be below"),
            "a larger frame could never be part of a message",
        ));
    }
    if limits.queue_low_bytes >= limits.queue_high_bytes {
        return Err(settings.contradiction(
            ("queue_low", "must be below"),
            ("queue_high", "must be above"),
            "reading stops at the one and resumes at the other",
        ));
    }
    if let (Some(ping), Some(idle)) = (timeouts.ping, timeouts.idle)
        && ping >= idle
    {
        return Err(settings.contradiction(
            ("ping_interval", "must be below"),
            ("idle_timeout", "must be above"),
            "a ping keeps a silent peer from being taken for a dead one",
        ));
    }
    let server = &settings.options.server;
    if server.memory_bytes_max / settings.options.workers < server::Config::MEMORY_BYTES_MIN {
        return Err(settings.contradiction(
            ("memory_max", "is too little for"),
            ("workers", "are too many for"),
            "each needs 4MiB at least",
        ));
    }
    let server = &settings.options.server;
    if server.proxy_protocol == server::ProxyProtocol::Off && server.proxy_from != Network::LOOPBACK {
        let place = settings.origin("proxy_from").to_string();
        settings.warnings.push(format!("proxy_from ({place}) has no effect: proxy_protocol is \"off\""));
    }
    check_whole_seconds(settings, "keep_alive", settings.options.server.keep_alive)?;
    check_whole_seconds(settings, "defer_accept", settings.options.server.defer_accept)?;
    if cfg!(not(target_os = "linux")) && settings.options.server.defer_accept.is_some() {
        return Err(settings.refuse("defer_accept", "works on Linux only"));
    }
    if cfg!(not(target_os = "linux")) && matches!(settings.options.server.congestion, server::Congestion::Named(_)) {
        return Err(settings.refuse("congestion", "works on Linux only"));
    }
    check_listeners(settings)?;
    // What else the library would refuse at start.
    settings.options.server.settings.check().map_err(|error| Error::Setting(format!("wslab: {error}")))
}

impl Settings {
    /// The more deliberate of the two is told how it relates to the other.
    fn contradiction(&self, a: (&str, &str), b: (&str, &str), why: &str) -> Error {
        let ((blamed, verb), (other, _)) =
            if self.origin(a.0).rank() >= self.origin(b.0).rank() { (a, b) } else { (b, a) };
        let (Some(key), Some(other)) = (Key::named(blamed), Key::named(other)) else {
            return Error::Setting(format!("{blamed} {verb} {other}: {why}"));
        };
        Error::Setting(format!(
            "{}: {verb} {} = {} ({}): {why}; change either",
            self.setting(key),
            other.name,
            other.slot.show(&self.options),
            self.origin(other.name),
        ))
    }

    pub(super) fn refuse(&self, name: &str, why: &str) -> Error {
        Error::Setting(match Key::named(name) {
            Some(key) => format!("{}: {why}", self.setting(key)),
            None => format!("{name}: {why}"),
        })
    }
}

fn check_whole_seconds(settings: &Settings, name: &str, time: Option<Duration>) -> Result<(), Error> {
    match time {
        // TCP_KEEPIDLE is a count of seconds, 32,767 at most.
        Some(time) if time.subsec_nanos() != 0 || time > Duration::from_secs(32_767) => {
            Err(settings.refuse(name, "expected whole seconds up to \"32767s\", as the system counts, or \"off\""))
        }
        _ => Ok(()),
    }
}

fn check_listeners(settings: &mut Settings) -> Result<(), Error> {
    let options = &settings.options;
    if options.no_tls {
        let (switch, listen) = (settings.origin("no_tls"), settings.origin("listen_tls"));
        if *listen != Origin::Default && !options.server.listen_tls.is_empty() && listen.rank() >= switch.rank() {
            return Err(settings.refuse("listen_tls", &format!("contradicts no_tls ({switch}): remove one of them")));
        }
        settings.options.server.listen_tls.clear();
    }
    let options = &settings.options;
    match (&options.tls_cert, &options.tls_key) {
        (Some(_), None) => return Err(settings.refuse("tls_cert", "needs its private key: give --tls-key too")),
        (None, Some(_)) => return Err(settings.refuse("tls_key", "needs its certificate: give --tls-cert too")),
        _ => {}
    }
    if options.server.listen.is_empty() && options.server.listen_tls.is_empty() {
        let tls = if options.no_tls { "no_tls" } else { "listen_tls" };
        return Err(settings.refuse(
            "listen",
            &format!("nothing is left to listen on, as {tls} ({}) excludes wss too: give --listen or --listen-tls an address", settings.origin(tls)),
        ));
    }
    Ok(())
}

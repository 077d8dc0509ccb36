//! `--print-config`: what holds, as a file that `--config` and `check-config` take, and where each value came from.

use std::fmt::Write as _;

use super::{
    options::KEYS,
    settings::{Origin, Settings},
};

/// The effective configuration as TOML.
pub(super) fn render(settings: &Settings) -> String {
    let mut text = String::from("# The configuration that holds, and where each value came from.\n");
    let mut group = "";
    for key in KEYS {
        if key.group != group {
            group = key.group;
            let _ = write!(text, "\n# {group}\n");
        }
        let mut origin = settings.origin(key.name).to_string();
        // A path may hold anything; a comment ends with its line.
        origin.retain(|c| !c.is_control());
        let value = key.slot.show(&settings.options);
        // wss is off by a switch of its own: listing its addresses as well would read as a contradiction.
        if key.name == "listen_tls" && settings.options.no_tls {
            origin = match settings.origin("no_tls") {
                Origin::Default => origin,
                switch => format!("no_tls, {switch}"),
            };
        }
        let _ = writeln!(text, "{} = {value}  # {origin}", key.name);
    }
    text
}

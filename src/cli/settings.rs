//! Four sources become one configuration: flag > environment > file > default. Remembers where each value came from,
//! so that a complaint names the place that has to be changed.

use std::{collections::BTreeMap, fmt, path::Path};

use super::{
    error::Error,
    file,
    options::{KEYS, Key, Options},
    relations,
    slot::{Reject, quote},
};

/// Where a value came from. Later ones win.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    Default,
    File { path: String, line: usize },
    Environment { variable: String },
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
            Origin::Environment { variable } => write!(f, "environment {variable}"),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

impl Origin {
    /// How two origins rank, whatever their details.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Origin::Default => 0,
            Origin::File { .. } => 1,
            Origin::Environment { .. } => 2,
            Origin::CommandLine => 3,
        }
    }

    /// A setting as its author wrote it, with the place first.
    pub(super) fn setting(&self, key: &Key, literal: &str) -> String {
        match self {
            Origin::Default => format!("default: {} = {literal}", key.name),
            Origin::File { path, line } => format!("{path}:{line}: {} = {literal}", key.name),
            Origin::Environment { variable } => format!("environment: {variable}={literal}"),
            Origin::CommandLine if key.value.is_empty() => format!("command line: --{}", key.flag()),
            Origin::CommandLine => format!("command line: --{} {literal}", key.flag()),
        }
    }
}

/// One value of one source, not yet understood.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub words: Vec<String>,
    /// The value as it was written.
    pub literal: String,
    pub origin: Origin,
}

impl Raw {
    /// From a source that knows text only; a list is cut at its commas.
    fn from_text(key: &Key, text: &str, origin: Origin) -> Raw {
        let words = if key.slot.is_list() {
            text.split(',').map(|word| word.trim().to_owned()).collect()
        } else {
            vec![text.to_owned()]
        };
        Raw { words, literal: quote(text), origin }
    }

    /// From the command line, where clap has cut lists already.
    pub(super) fn from_flag(words: Vec<String>) -> Raw {
        Raw { literal: quote(&words.join(",")), words, origin: Origin::CommandLine }
    }
}

/// The environment, as an argument: a test has its own.
pub(super) type Environment = BTreeMap<String, String>;

/// The configuration that holds, and where it came from.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub options: Options,
    origins: BTreeMap<&'static str, Origin>,
    /// What looks like a mistake and is none for sure.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Lays file, environment and flags over the defaults and checks how they go together.
    pub(super) fn load(
        config: Option<&Path>,
        environment: &Environment,
        flags: Vec<(&'static Key, Raw)>,
    ) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        if let Some(path) = config {
            settings.apply(file::read(path)?)?;
        }
        settings.apply(KEYS.iter().filter_map(|key| {
            let variable = key.variable();
            let text = environment.get(&variable)?;
            Some((key, Raw::from_text(key, text, Origin::Environment { variable })))
        }))?;
        settings.warn_of_near_misses(environment);
        settings.apply(flags)?;
        settings.apply_port(environment)?;
        relations::check(&mut settings)?;
        Ok(settings)
    }

    /// Where the key's value came from.
    pub(super) fn origin(&self, name: &str) -> &Origin {
        self.origins.get(name).unwrap_or(&Origin::Default)
    }

    /// The setting that holds, for a message.
    pub(super) fn setting(&self, key: &Key) -> String {
        self.origin(key.name).setting(key, &key.slot.show(&self.options))
    }

    fn apply(&mut self, values: impl IntoIterator<Item = (&'static Key, Raw)>) -> Result<(), Error> {
        for (key, raw) in values {
            key.slot.set(&mut self.options, &raw.words).map_err(|Reject { word, expected }| {
                let literal = match word {
                    Some(word) if raw.words.len() > 1 => quote(&word),
                    _ => raw.literal.clone(),
                };
                Error::Setting(format!("{}: {expected}", raw.origin.setting(key, &literal)))
            })?;
            self.origins.insert(key.name, raw.origin);
        }
        Ok(())
    }

    /// `PORT`, as hosting platforms set it, is the port of the first listener for ws unless listeners were
    /// chosen on the command line or by `WSLAB_LISTEN`.
    fn apply_port(&mut self, environment: &Environment) -> Result<(), Error> {
        let Some(text) = environment.get("PORT") else { return Ok(()) };
        if self.origin("listen").rank() > 1 {
            return Ok(());
        }
        let Some(first) = self.options.server.listen.first_mut() else { return Ok(()) };
        let port = text.parse().map_err(|_| {
            Error::Setting(format!("environment: PORT={}: expected a port such as \"8888\"", quote(text)))
        })?;
        first.set_port(port);
        self.origins.insert("listen", Origin::Environment { variable: "PORT".to_owned() });
        Ok(())
    }

    /// A mistyped variable would be ignored in silence, and an unknown one cannot be an error:
    /// orchestrators put their own beside ours (`WSLAB_SERVICE_HOST`).
    fn warn_of_near_misses(&mut self, environment: &Environment) {
        for variable in
            environment.keys().filter(|variable| variable.starts_with("WSLAB_") && *variable != "WSLAB_CONFIG")
        {
            if KEYS.iter().any(|key| key.variable() == *variable) {
                continue;
            }
            if let Some(key) = nearest(&variable["WSLAB_".len()..].to_lowercase()) {
                self.warnings
                    .push(format!("environment: {variable}: no such variable: did you mean {}?", key.variable()));
            }
        }
    }
}

/// The key that somebody who wrote this name may have meant.
pub(super) fn nearest(name: &str) -> Option<&'static Key> {
    // Below 0.85 the suggestions are about other things ("timeout" → "listen").
    KEYS.iter()
        .map(|key| (strsim::jaro_winkler(name, key.name), key))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, key)| key)
}

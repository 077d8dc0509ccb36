//! The configuration file: flat TOML, unknown keys refused, every value with the line it stands on.

use std::{fs, path::Path};

use toml::de::{DeTable, DeValue};

use super::{
    error::Error,
    options::Key,
    settings::{Origin, Raw, nearest},
};

/// Reads a file into values that know their lines, in the file's order.
pub(super) fn read(path: &Path) -> Result<Vec<(&'static Key, Raw)>, Error> {
    let text = fs::read_to_string(path).map_err(|source| Error::ConfigFile { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text)
}

/// Reads the text of the file that is called `path` in messages.
pub(super) fn parse(path: &str, text: &str) -> Result<Vec<(&'static Key, Raw)>, Error> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = line_at(text, error.span().map_or(0, |span| span.start));
        Error::Setting(format!("{path}:{line}: not TOML: {}", error.message().replace('\n', " ")))
    })?;
    let mut entries: Vec<_> = table.into_inner().into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
        .into_iter()
        .map(|(name, value)| {
            let line = line_at(text, name.span().start);
            let name = name.into_inner();
            let Some(key) = Key::named(&name) else {
                let hint = nearest(&name.replace('-', "_")).map_or_else(
                    || "`wslab serve --print-config` lists all keys".to_owned(),
                    |key| format!("did you mean {}?", key.name),
                );
                let kind = if value.get_ref().is_table() { "section" } else { "key" };
                return Err(Error::Setting(format!("{path}:{line}: {}: no such {kind}: {hint}", name.escape_debug())));
            };
            let literal = text.get(value.span()).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
            let origin = Origin::File { path: path.to_owned(), line };
            let Some(words) = words(value.get_ref(), key.slot.is_list()) else {
                let shape = if key.slot.is_list() { "a string or an array of strings" } else { "one value" };
                return Err(Error::Setting(format!("{}: expected {shape}", origin.setting(key, &literal))));
            };
            Ok((key, Raw { words, literal, origin }))
        })
        .collect()
}

fn words(value: &DeValue<'_>, list: bool) -> Option<Vec<String>> {
    match value {
        DeValue::Array(items) if list => items.iter().map(|item| word(item.get_ref())).collect(),
        value => word(value).map(|word| vec![word]),
    }
}

fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(switch) => Some(switch.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(text: &str) -> String {
        match parse("a.toml", text) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("accepted: {text}"),
        }
    }

    #[test]
    fn what_is_no_flat_toml_of_known_keys_is_refused_with_its_line() {
        for (text, expected) in [
            ("\nidel_timeout = \"60s\"", "a.toml:2: idel_timeout: no such key: did you mean idle_timeout?"),
            ("idle-timeout = \"60s\"", "a.toml:1: idle-timeout: no such key: did you mean idle_timeout?"),
            ("zzz = 1", "a.toml:1: zzz: no such key: `wslab serve --print-config` lists all keys"),
            (
                "# one\n# two\n[limits]\nframe_max = \"1KiB\"",
                "a.toml:3: limits: no such section: `wslab serve --print-config` lists all keys",
            ),
            ("workers = [1]", "a.toml:1: workers = [1]: expected one value"),
            ("listen = [\n  [1],\n]", "a.toml:1: listen = [ [1], ]: expected a string or an array of strings"),
            ("grace = 1979-05-27", "a.toml:1: grace = 1979-05-27: expected one value"),
        ] {
            assert_eq!(complaint(text), expected);
        }
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        assert!(complaint("workers = 1\nworkers = 2").starts_with("a.toml:2: not TOML: duplicate key"));
        assert!(complaint("workers = 1\n\ngrace = ten").starts_with("a.toml:3: not TOML: "));
        assert!(!complaint("grace = \"").contains('\n'));
    }

    #[test]
    fn values_keep_their_order_and_their_lines() {
        let values = parse("a.toml", "workers = 2\n\ngrace = \"1s\"\n").unwrap();
        let lines: Vec<_> =
            values.iter().map(|(key, raw)| (key.name, raw.words.join(","), raw.origin.to_string())).collect();
        assert_eq!(lines, [("workers", "2".into(), "a.toml:1".into()), ("grace", "1s".into(), "a.toml:3".into())]);
    }
}

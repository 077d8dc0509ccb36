//! The rooms of `src/` and the arrows between them (ARCHITECTURE.md): who may name whom, and what nobody but one may name.
//!
//! It reads sources, not syntax trees: comments, strings and test modules are blanked, paths and names are looked up in
//! what is left. A doctored source for every rule shows that it can be broken.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A room, the rooms that it may name, and what it may not.
struct Room {
    name: &'static str,
    may_name: &'static [&'static str],
    may_not_say: &'static [&'static str],
}

const SOCKETS: &[&str] = &["std::net", "core::net::Tcp", "mio", "socket2", "rustls"];
const CLOCK: &[&str] = &["Instant::now", "SystemTime::now"];
const PRINTING: &[&str] =
    &["println!", "eprintln!", "print!", "eprint!", "dbg!", "io::stdout", "io::stderr", "process::exit"];
const SURROUNDINGS: &[&str] = &["std::process", "std::env", "std::fs", "std::thread", "rand", "getrandom"];
const COMMAND_LINE: &[&str] = &["clap", "toml", "tracing_subscriber", "signal_hook", "rcgen", "humantime"];
const WEBSOCKET: &[&str] = &["WebSocket", "websocket", "Opcode", "CloseCode", "Ping", "Pong", "6455"];

const ROOMS: &[Room] = &[
    Room { name: "proto", may_name: &[], may_not_say: &["std::io::Read", "std::io::stdin"] },
    Room { name: "net", may_name: &[], may_not_say: &["Slab"] },
    Room { name: "session", may_name: &["proto", "net"], may_not_say: &["mio", "std::net"] },
    Room { name: "server", may_name: &["session", "proto", "net"], may_not_say: &[] },
    Room { name: "client", may_name: &["session", "proto", "net"], may_not_say: &[] },
    Room { name: "bench", may_name: &["client", "session", "proto", "net"], may_not_say: &[] },
    Room { name: "cli", may_name: &["bench", "server", "client", "session", "proto", "net"], may_not_say: &[] },
];

impl Room {
    /// Everything that the room may not say.
    fn forbidden(&self) -> impl Iterator<Item = &'static str> {
        let groups: &[&[&str]] = match self.name {
            "proto" => &[SOCKETS, CLOCK, PRINTING, SURROUNDINGS, COMMAND_LINE],
            "net" => &[PRINTING, COMMAND_LINE, WEBSOCKET],
            "session" => &[CLOCK, PRINTING, SURROUNDINGS, COMMAND_LINE],
            "cli" => &[],
            _ => &[PRINTING, COMMAND_LINE],
        };
        groups.iter().copied().flatten().chain(self.may_not_say).copied()
    }
}

/// What is wrong with a source of this room; empty: nothing. Each is `line: what`.
fn breaches(room: &Room, source: &str) -> Vec<String> {
    let code = code_of(source);
    let mut found = Vec::new();
    for (at, target) in crate_paths(&code) {
        let is_room = ROOMS.iter().any(|other| other.name == target);
        if is_room && target != room.name && !room.may_name.contains(&target.as_str()) {
            found.push((at, format!("{} names {target}", room.name)));
        }
    }
    for word in room.forbidden() {
        found.extend(places(&code, word).map(|at| (at, format!("{} says {word}", room.name))));
    }
    found.sort();
    found.into_iter().map(|(at, what)| format!("{}: {what}", 1 + code[..at].matches('\n').count())).collect()
}

/// Where a word stands on its own: not as a part of a longer name.
fn places<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .filter(move |(at, _)| {
            // `mio` is a crate and a path's first name, not the end of another; `Ping` may begin a longer name.
            let before = code[..*at].chars().next_back();
            let after = code[at + word.len()..].chars().next();
            let open_end = word.ends_with('!') || WEBSOCKET.contains(&word);
            !before.is_some_and(is_part) && (open_end || !after.is_some_and(is_part))
        })
        .map(|(at, _)| at)
}

/// The rooms named by `crate::…`, also inside a `use` with braces, with their places.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    const CRATE: &str = "crate::";
    let mut found = Vec::new();
    for at in places(code, CRATE.trim_end_matches(':')).filter(|at| code[*at..].starts_with(CRATE)) {
        let rest = &code[at + CRATE.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            // The first name of every element at the outermost level.
            let (mut depth, mut begins) = (0, true);
            for (offset, c) in list.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => begins = true,
                    c if begins && depth == 0 && !c.is_whitespace() => {
                        found.push((at + CRATE.len() + 1 + offset, first_name(&list[offset..])));
                        begins = false;
                    }
                    _ => {}
                }
            }
        } else {
            found.push((at, first_name(rest)));
        }
    }
    found
}

fn first_name(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The source with comments, literals and test modules blanked. Lines stay where they are.
fn code_of(source: &str) -> String {
    without_tests(&without_literals(source))
}

/// Blanks comments, strings and character literals.
fn without_literals(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let blank = |code: &mut String, text: &str| code.extend(text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
    while let Some(c) = rest.chars().next() {
        let after_name = code.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        let len = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => comment_len(rest),
            '"' => string_len(rest),
            'b' | 'c' if !after_name && rest[1..].starts_with('"') => 1 + string_len(&rest[1..]),
            'r' if !after_name => raw_string_len(rest).unwrap_or(0),
            'b' | 'c' if !after_name && rest[1..].starts_with('r') => {
                raw_string_len(&rest[1..]).map_or(0, |len| len + 1)
            }
            '\'' => char_len(rest),
            _ => 0,
        };
        if len > 0 {
            blank(&mut code, &rest[..len]);
            rest = &rest[len..];
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    code
}

/// A block comment, which may hold others.
fn comment_len(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// `r"…"`, `r#"…"#`.
fn raw_string_len(text: &str) -> Option<usize> {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(body.find(&end).map_or(text.len(), |at| 2 + hashes + at + end.len()))
}

/// A character literal; 0 for a lifetime.
fn char_len(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, c))) => {
            let from = at + c.len_utf8();
            text[from..].find('\'').map_or(0, |end| from + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

/// Blanks every item behind an attribute that is on for tests only.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    while let Some(at) = ["#[cfg(test)]", "#[cfg(all(test", "#[test]"].iter().filter_map(|word| code.find(word)).min() {
        let open = code[at..].find('{').map_or(code.len(), |open| at + open);
        let semicolon = code[at..].find(';').map_or(code.len(), |end| at + end);
        let end = if semicolon < open {
            semicolon + 1
        } else {
            let mut depth = 0;
            let close = code[open..].char_indices().find(|(_, c)| {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                depth == 0
            });
            close.map_or(code.len(), |(close, _)| open + close + 1)
        };
        let blank: String = code[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(at..end, &blank);
    }
    code
}

/// The sources of a room, without the files of modules that are on for tests only.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    let is_source = |path: &Path| path.extension().is_some_and(|extension| extension == "rs");
    let tests: Vec<String> = entries
        .iter()
        .filter(|path| is_source(path))
        .flat_map(|path| test_modules(&fs::read_to_string(path).unwrap()))
        // A file's own tests, `name/tests.rs`, are declared in `name.rs`.
        .chain(["tests".to_owned()])
        .collect();
    entries
        .into_iter()
        .filter(|path| !tests.iter().any(|name| path.file_stem().is_some_and(|stem| stem == name.as_str())))
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| is_source(path))
        .collect()
}

/// The names of modules in files of their own that are on for tests only.
fn test_modules(source: &str) -> Vec<String> {
    let code = without_literals(source);
    let behind_attribute =
        code.split("#[cfg(").skip(1).filter(|rest| rest.starts_with("test)") || rest.starts_with("all(test"));
    behind_attribute
        .filter_map(|rest| {
            let item = rest.split_once(']')?.1.trim_start();
            let item = item.strip_prefix("pub(crate) ").unwrap_or(item).strip_prefix("mod ")?;
            item.starts_with(char::is_alphabetic)
                .then(|| first_name(item))
                .filter(|name| item[name.len()..].starts_with(';'))
        })
        .collect()
}

#[test]
fn rooms_name_only_what_their_arrows_allow() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut read = 0;
    for entry in fs::read_dir(&src).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        if !entry.path().is_dir() {
            assert!(["lib.rs", "main.rs"].contains(&name.as_str()), "src/{name} is in no room");
            continue;
        }
        let room = ROOMS
            .iter()
            .find(|room| room.name == name)
            .unwrap_or_else(|| panic!("src/{name} is a room without arrows"));
        for path in sources(&entry.path()) {
            let source = fs::read_to_string(&path).unwrap();
            read += 1;
            let place = path.strip_prefix(&src).unwrap().display().to_string();
            found.extend(breaches(room, &source).into_iter().map(|breach| format!("src/{place}:{breach}")));
        }
    }
    assert!(read > 40, "{read} sources were read");
    assert!(found.is_empty(), "{} breaches:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_doctored_source_is_found_out() {
    #[rustfmt::skip]
    let rows: &[(&str, &str, &str)] = &[
        ("proto", "use std::net::TcpStream;", "1: proto says std::net"),
        ("proto", "\nuse mio::Token;", "2: proto says mio"),
        ("proto", "fn f() { let now = std::time::Instant::now(); }", "1: proto says Instant::now"),
        ("proto", "fn f() { SystemTime::now(); }", "1: proto says SystemTime::now"),
        ("proto", "fn f() { println!(\"x\"); }", "1: proto says println!"),
        ("proto", "fn f() { std::process::abort() }", "1: proto says std::process"),
        ("proto", "use rand::random;", "1: proto says rand"),
        ("proto", "use crate::net::Transport;", "1: proto names net"),
        ("proto", "use crate::{\n    proto::Limits,\n    net::{Transport, tls},\n};", "3: proto names net"),
        ("net", "use crate::proto::Connection;", "1: net names proto"),
        ("net", "struct WebSocketDoor;", "1: net says WebSocket"),
        ("net", "fn f(ping: Ping) {}", "1: net says Ping"),
        ("session", "fn f() -> crate::server::Server { loop {} }", "1: session names server"),
        ("session", "use mio::net::TcpStream;", "1: session says mio"),
        ("session", "fn f() { Instant::now(); }", "1: session says Instant::now"),
        ("server", "use crate::cli::run;", "1: server names cli"),
        ("server", "use crate::client::Load;", "1: server names client"),
        ("client", "use crate::server::Echo;", "1: client names server"),
        ("bench", "use crate::server::Echo;", "1: bench names server"),
        ("bench", "use crate::cli::run;", "1: bench names cli"),
        ("bench", "fn f() { eprintln!(\"x\"); }", "1: bench says eprintln!"),
        ("client", "use crate::bench::Run;", "1: client names bench"),
        ("server", "fn f() { eprintln!(\"x\"); }", "1: server says eprintln!"),
        ("server", "fn f() { std::process::exit(1) }", "1: server says process::exit"),
        ("net", "use clap::Parser;", "1: net says clap"),
        ("proto", "#[cfg(test)]\nmod tests {\n    use std::net::TcpStream;\n}\nuse std::net::Ipv4Addr;", "5: proto says std::net"),
        ("proto", "const A: &str = \"\\\"\"; use std::net::Ipv4Addr; // \"", "1: proto says std::net"),
        ("proto", "const Q: char = '\"'; use std::net::Ipv4Addr; const R: char = '\"';", "1: proto says std::net"),
        ("proto", "fn f<'a>(x: &'a str) { mio::f('x'); }", "1: proto says mio"),
    ];
    for (room, source, breach) in rows {
        let room = ROOMS.iter().find(|known| known.name == *room).unwrap();
        assert_eq!(breaches(room, source), [*breach], "{source}");
    }
}

#[test]
fn modules_for_tests_are_told_from_others() {
    let source = "mod a;\n#[cfg(test)]\nmod b;\n#[cfg(test)]\nmod c { }\n#[cfg(all(test, feature = \"x\"))]\nmod d;\n\
        #[cfg(test)]\nuse e;\nmod f;\n#[cfg(feature = \"x\")]\nmod g;";
    assert_eq!(test_modules(source), ["b", "d"]);
}

#[test]
fn what_is_no_breach_is_not_taken_for_one() {
    #[rustfmt::skip]
    let rows: &[(&str, &str)] = &[
        ("proto", "// use std::net::TcpStream;"),
        ("proto", "/// Unlike mio, it owns no socket. `println!`\nfn f() {}"),
        ("proto", "/* mio /* rustls */ println!() */ fn f() {}"),
        ("proto", "const A: &str = \"use std::net; println!\";"),
        ("proto", "const A: &str = r#\"mio \"quoted\" println!\"#;"),
        ("proto", "const A: &[u8] = b\"mio\"; const B: &[u8] = br\"mio\";"),
        ("proto", "#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n    fn f() { Instant::now(); }\n}"),
        ("proto", "#[cfg(test)]\nuse std::net::TcpStream;"),
        ("proto", "#[cfg(test)]\nmod tests;\nuse crate::proto::Limits;"),
        ("proto", "use std::time::Instant; fn f(now: Instant) {}"),
        ("proto", "fn operand(random: u8) {} struct Grand;"),
        ("proto", "use crate::proto::{Limits, wire::net};"),
        ("net", "fn mapping() {} // a WebSocket"),
        ("session", "use crate::{net::Transport, proto::Connection};"),
        ("server", "use crate::{\n    net::{Listener, listener::is_transient},\n    session::Session,\n};"),
        ("cli", "use crate::server::Echo; fn f() { println!(\"x\"); std::process::exit(0) }"),
    ];
    for (room, source) in rows {
        let room = ROOMS.iter().find(|known| known.name == *room).unwrap();
        assert_eq!(breaches(room, source), Vec::<String>::new(), "{source}");
    }
}

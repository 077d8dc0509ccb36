//! What a server says once it accepts: one line for programs on stdout, and for people how to try it.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use serde_json::json;

use super::{local_ca::is_localhost, options::Format};

/// Where a server can be reached.
#[derive(Debug)]
pub(super) struct Ready {
    pub ws: Vec<String>,
    pub wss: Vec<String>,
    /// Only where there is one.
    pub admin: Option<String>,
    pub ca: Option<PathBuf>,
    pub pid: u32,
}

impl Ready {
    /// From the addresses that are really bound. `paths` are those that exist, if not all do.
    pub(super) fn new(
        ws: &[SocketAddr],
        wss: &[SocketAddr],
        admin: Option<SocketAddr>,
        ca: Option<PathBuf>,
        paths: Option<&[String]>,
        pid: u32,
    ) -> Ready {
        let path = |default| paths.and_then(<[String]>::first).map_or(default, String::as_str);
        // Whoever reads this is on this machine: every address is reached by the loopback one.
        let reach = |addr: &SocketAddr| match addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, addr.port())),
            IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::from((Ipv6Addr::LOCALHOST, addr.port())),
            _ => *addr,
        };
        let wss_url = |addr: &SocketAddr| {
            // The local certificate is for localhost, which reaches these addresses.
            if ca.is_some() && (is_localhost(addr.ip()) || addr.ip().is_unspecified()) {
                format!("wss://localhost:{}{}", addr.port(), path("/wss"))
            } else {
                format!("wss://{}{}", reach(addr), path("/wss"))
            }
        };
        Ready {
            ws: ws.iter().map(|addr| format!("ws://{}{}", reach(addr), path("/ws"))).collect(),
            wss: wss.iter().map(wss_url).collect(),
            admin: admin.as_ref().map(|addr| format!("http://{}", reach(addr))),
            ca,
            pid,
        }
    }

    /// The line that tools wait for, line end included.
    pub(super) fn line(&self, format: Format) -> String {
        match format {
            Format::Json => {
                let ca = self.ca.as_ref().map(|path| path.display().to_string());
                let mut ready =
                    json!({ "schema": "wslab.ready/1", "ws": self.ws, "wss": self.wss, "ca": ca, "pid": self.pid });
                if let Some(admin) = &self.admin {
                    ready["admin"] = json!(admin);
                }
                format!("{ready}\n")
            }
            Format::Text => {
                let mut line = String::from("wslab ready");
                for (name, urls) in [("ws", &self.ws), ("wss", &self.wss)] {
                    if !urls.is_empty() {
                        let _ = write!(line, " {name}={}", urls.join(","));
                    }
                }
                if let Some(admin) = &self.admin {
                    let _ = write!(line, " admin={admin}");
                }
                if let Some(ca) = &self.ca {
                    let _ = write!(line, " ca={}", shell_word(&ca.display().to_string()));
                }
                let _ = writeln!(line, " pid={}", self.pid);
                line
            }
        }
    }

    /// Commands to paste.
    pub(super) fn banner(&self) -> String {
        let mut text = String::from("try it:\n");
        if let Some(url) = self.ws.first() {
            let _ = writeln!(text, "  python -m websockets {url}");
            let _ = writeln!(text, "  websocat {url}");
        }
        if let Some(url) = self.wss.first() {
            let trust = self.ca.as_ref().map(|ca| shell_word(&ca.display().to_string()));
            let (env, flag) = match &trust {
                Some(ca) => (format!("SSL_CERT_FILE={ca} "), format!("--cacert {ca} ")),
                None => (String::new(), String::new()),
            };
            let _ = writeln!(text, "  {env}python -m websockets {url}");
            let _ = writeln!(text, "  {env}websocat {url}");
            let _ = writeln!(text, "  curl {flag}{}", url.replacen("wss:", "https:", 1));
        }
        text.push_str("stop it with Ctrl-C; a second Ctrl-C does not wait for peers\n");
        text
    }
}

/// The word as a shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(ws: &[&str], wss: &[&str], ca: Option<&str>, paths: Option<&[String]>) -> Ready {
        let addrs = |list: &[&str]| list.iter().map(|addr| addr.parse().unwrap()).collect::<Vec<_>>();
        Ready::new(&addrs(ws), &addrs(wss), None, ca.map(PathBuf::from), paths, 123)
    }

    #[test]
    fn the_ready_line_in_text_names_what_exists() {
        let check = |ready: Ready, expected: &str| assert_eq!(ready.line(Format::Text), format!("{expected}\n"));
        check(
            ready(&["127.0.0.1:8888"], &["127.0.0.1:8889"], Some("/data/ca.pem"), None),
            "wslab ready ws=ws://127.0.0.1:8888/ws wss=wss://localhost:8889/wss ca=/data/ca.pem pid=123",
        );
        check(
            ready(&["[::1]:1", "0.0.0.0:2"], &[], None, None),
            "wslab ready ws=ws://[::1]:1/ws,ws://127.0.0.1:2/ws pid=123",
        );
        check(
            ready(&[], &["0.0.0.0:2", "127.0.0.2:3"], Some("/my data/ca.pem"), None),
            "wslab ready wss=wss://localhost:2/wss,wss://127.0.0.2:3/wss ca='/my data/ca.pem' pid=123",
        );
        check(
            ready(&[], &["127.0.0.1:2"], None, Some(&["/chat".to_owned()])),
            "wslab ready wss=wss://127.0.0.1:2/chat pid=123",
        );
    }

    #[test]
    fn the_ready_line_in_json_is_one_object_on_one_line() {
        let line = ready(&["127.0.0.1:8888"], &[], None, None).line(Format::Json);
        assert_eq!(line.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected =
            json!({ "schema": "wslab.ready/1", "ws": ["ws://127.0.0.1:8888/ws"], "wss": [], "ca": null, "pid": 123 });
        assert_eq!(value, expected);
    }

    #[test]
    fn the_admin_address_is_named_only_where_there_is_one() {
        let addr = |text: &str| text.parse().unwrap();
        let ready = Ready::new(&[addr("127.0.0.1:1")], &[], Some(addr("0.0.0.0:9100")), None, None, 123);
        assert_eq!(
            ready.line(Format::Text),
            "wslab ready ws=ws://127.0.0.1:1/ws admin=http://127.0.0.1:9100 pid=123\n"
        );
        let value: serde_json::Value = serde_json::from_str(&ready.line(Format::Json)).unwrap();
        assert_eq!(value["admin"], "http://127.0.0.1:9100");
    }

    #[test]
    fn commands_to_try_trust_the_local_ca() {
        let banner = ready(&["127.0.0.1:1"], &["127.0.0.1:2"], Some("/a b/ca.pem"), None).banner();
        for command in [
            "  websocat ws://127.0.0.1:1/ws\n",
            "  SSL_CERT_FILE='/a b/ca.pem' python -m websockets wss://localhost:2/wss\n",
            "  curl --cacert '/a b/ca.pem' https://localhost:2/wss\n",
        ] {
            assert!(banner.contains(command), "{banner}");
        }
    }
}

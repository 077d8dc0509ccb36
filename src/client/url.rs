//! WebSocket URLs (RFC 6455 §3): `ws` and `wss`, a host, perhaps a port, path and query. Resolves nothing.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A WebSocket URL, taken apart.
///
/// ```
/// use wslab::client::Url;
///
/// let url: Url = "wss://[::1]:8889/wss?size=64".parse()?;
/// assert!(url.is_tls());
/// assert_eq!((url.host(), url.port(), url.resource()), ("::1", 8889, "/wss?size=64"));
/// assert_eq!(url.authority(), "[::1]:8889");
/// # Ok::<(), wslab::client::UrlError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    tls: bool,
    /// A name in lower case, or an address; IPv6 without brackets.
    host: String,
    port: u16,
    /// Path and query; begins with `/`.
    resource: String,
}

/// Why a text is no WebSocket URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// Neither `ws://` nor `wss://`.
    #[error("expected ws://HOST[:PORT][/PATH] or wss://…")]
    Scheme,
    /// A scheme that means the same elsewhere.
    #[error("expected a WebSocket URL: write {instead} instead of {scheme}")]
    HttpScheme {
        /// What it begins with.
        scheme: &'static str,
        /// What it should begin with.
        instead: &'static str,
    },
    /// `user@` in front of the host.
    #[error("a WebSocket URL carries no user name or password")]
    UserInfo,
    /// No host.
    #[error("the host is missing")]
    NoHost,
    /// The host is neither a name nor an address.
    #[error("{host:?} is no host name or address (IPv6 in brackets, other scripts as xn--…)")]
    Host {
        /// What stands in its place.
        host: String,
    },
    /// The port is none.
    #[error("{port:?} is no port from 1 to 65535")]
    Port {
        /// What stands in its place.
        port: String,
    },
    /// §3: a fragment has no meaning here.
    #[error("a WebSocket URL has no fragment: write # as %23")]
    Fragment,
    /// A character that must be escaped.
    #[error("{found:?} must be percent-encoded in a path or query")]
    Resource {
        /// The first one.
        found: char,
    },
}

impl Url {
    /// Whether it is `wss`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host: a name, or an address; IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, the scheme's own if none was given.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Path and query, as the request asks for them.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// The host if it is an address.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// What the `Host` header says: the port only where it is not the scheme's own (§4.1, 4).
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// The same server, another path and query.
    ///
    /// # Errors
    /// [`UrlError::Resource`] or [`UrlError::Fragment`].
    pub fn with_resource(&self, resource: &str) -> Result<Url, UrlError> {
        Ok(Url { resource: judge_resource(resource)?, ..self.clone() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "wss" } else { "ws" }, self.authority(), self.resource)
    }
}

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => return Err(UrlError::HttpScheme { scheme: "http://", instead: "ws://" }),
            "https" => return Err(UrlError::HttpScheme { scheme: "https://", instead: "wss://" }),
            _ => return Err(UrlError::Scheme),
        };
        let (authority, resource) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = split_authority(authority)?;
        let port = match port {
            None | Some("") => default_port(tls),
            Some(digits) => judge_port(digits)?,
        };
        Ok(Url { tls, host, port, resource: judge_resource(resource)? })
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// The host, judged, and what stands behind the colon.
fn split_authority(authority: &str) -> Result<(String, Option<&str>), UrlError> {
    let on_host = |host: &str| UrlError::Host { host: host.to_owned() };
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, behind) = bracketed.split_once(']').ok_or_else(|| on_host(authority))?;
        let address: Ipv6Addr = host.parse().map_err(|_| on_host(authority))?;
        return match behind.strip_prefix(':') {
            Some(port) => Ok((address.to_string(), Some(port))),
            None if behind.is_empty() => Ok((address.to_string(), None)),
            None => Err(on_host(authority)),
        };
    }
    let (host, port) = match authority.split_once(':') {
        // An IPv6 address without its brackets.
        Some((_, port)) if port.contains(':') => return Err(on_host(authority)),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    if host.is_empty() {
        return Err(UrlError::NoHost);
    }
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    if !labels.split('.').all(is_label) {
        return Err(on_host(host));
    }
    // A name that ends in a number is meant as an address; resolvers take strange ones.
    let last = labels.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|octet| octet.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(on_host(host));
    }
    Ok((host.to_ascii_lowercase(), port))
}

fn judge_port(digits: &str) -> Result<u16, UrlError> {
    match digits.parse() {
        Ok(port) if port > 0 && digits.bytes().all(|octet| octet.is_ascii_digit()) => Ok(port),
        _ => Err(UrlError::Port { port: digits.to_owned() }),
    }
}

/// Path and query with the leading `/` that may be left out (§3).
fn judge_resource(resource: &str) -> Result<String, UrlError> {
    match resource.chars().find(|&c| !c.is_ascii_graphic() || matches!(c, '#' | '"' | '<' | '>')) {
        Some('#') => Err(UrlError::Fragment),
        Some(found) => Err(UrlError::Resource { found }),
        None if resource.starts_with('/') => Ok(resource.to_owned()),
        None => Ok(format!("/{resource}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_put_together() {
        for (text, tls, host, port, resource, shown) in [
            ("ws://localhost", false, "localhost", 80, "/", "ws://localhost/"),
            ("wss://localhost", true, "localhost", 443, "/", "wss://localhost/"),
            ("WS://LocalHost:8888/Ws", false, "localhost", 8888, "/Ws", "ws://localhost:8888/Ws"),
            ("ws://127.0.0.1:80/a?b=c", false, "127.0.0.1", 80, "/a?b=c", "ws://127.0.0.1/a?b=c"),
            ("wss://[0:0::1]:8889/wss", true, "::1", 8889, "/wss", "wss://[::1]:8889/wss"),
            ("ws://[::1]", false, "::1", 80, "/", "ws://[::1]/"),
            ("ws://a_b.example.:/", false, "a_b.example.", 80, "/", "ws://a_b.example./"),
            ("ws://a?case=1", false, "a", 80, "/?case=1", "ws://a/?case=1"),
            ("ws://a/b:c@d", false, "a", 80, "/b:c@d", "ws://a/b:c@d"),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!((url.is_tls(), url.host(), url.port(), url.resource()), (tls, host, port, resource), "{text}");
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse::<Url>().unwrap(), url, "{shown}");
        }
    }

    #[test]
    fn what_is_no_websocket_url_is_told_why() {
        for (text, said) in [
            ("localhost:8888", "expected ws://HOST[:PORT][/PATH] or wss://…"),
            ("ftp://a", "expected ws://HOST[:PORT][/PATH] or wss://…"),
            ("https://a/", "expected a WebSocket URL: write wss:// instead of https://"),
            ("ws://", "the host is missing"),
            ("ws:///path", "the host is missing"),
            ("ws://:80/", "the host is missing"),
            ("ws://me:secret@a/", "a WebSocket URL carries no user name or password"),
            ("ws://::1/", "\"::1\" is no host name or address (IPv6 in brackets, other scripts as xn--…)"),
            ("ws://[::1/", "\"[::1\" is no host name or address (IPv6 in brackets, other scripts as xn--…)"),
            ("ws://[::1]x/", "\"[::1]x\" is no host name or address (IPv6 in brackets, other scripts as xn--…)"),
            ("ws://1.2.3/", "\"1.2.3\" is no host name or address (IPv6 in brackets, other scripts as xn--…)"),
            ("ws://a b/", "\"a b\" is no host name or address (IPv6 in brackets, other scripts as xn--…)"),
            (
                "ws://bücher.example/",
                "\"bücher.example\" is no host name or address (IPv6 in brackets, other scripts as xn--…)",
            ),
            ("ws://a:0/", "\"0\" is no port from 1 to 65535"),
            ("ws://a:65536/", "\"65536\" is no port from 1 to 65535"),
            ("ws://a:+80/", "\"+80\" is no port from 1 to 65535"),
            ("ws://a/#b", "a WebSocket URL has no fragment: write # as %23"),
            ("ws://a/b c", "' ' must be percent-encoded in a path or query"),
            ("ws://a/\r\nHost: b", "'\\r' must be percent-encoded in a path or query"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap_err().to_string(), said, "{text}");
        }
    }
}

//! A request to the admin address and its answer: `GET` and `HEAD` of three paths (RFC 9110). No socket.

use std::fmt::Write as _;

use super::{
    exposition::{Exposition, Scrape},
    site::Site,
};

/// Octets of a request head; beyond it: 431.
pub(super) const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header lines of a request; beyond it: 431.
const HEAD_LINES_MAX: usize = 64;

/// What a request is to get.
#[derive(Debug)]
pub(super) enum Asked {
    /// Its head is not whole.
    NotYet,
    /// This answer.
    Answer(Vec<u8>),
    /// The numbers, or what `HEAD` tells of them.
    Numbers(Exposition, Body),
}

/// Whether an answer has its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    Sent,
    /// RFC 9110 §9.3.2.
    LeftOut,
}

/// What has come of a request so far, and what it is to get.
pub(super) fn judge(octets: &[u8], site: &Site) -> Asked {
    let mut headers = [httparse::EMPTY_HEADER; HEAD_LINES_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let page = match request.parse(octets) {
        Ok(httparse::Status::Complete(_)) => return route(&request, site),
        Ok(httparse::Status::Partial) if octets.len() < HEAD_BYTES_MAX => return Asked::NotYet,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Page::text(431, "the request head is too large\n")
        }
        Err(_) => Page::text(400, "this is no HTTP/1.1 request\n"),
    };
    Asked::Answer(page.response(Body::Sent))
}

/// The answer with the numbers.
pub(super) fn numbers(scrape: &Scrape, exposition: Exposition, body: Body) -> Vec<u8> {
    let page = match exposition.page(scrape) {
        Ok((content_type, body)) => Page { status: 200, content_type, body },
        Err(_) => Page::text(500, "the numbers cannot be written\n"),
    };
    page.response(body)
}

fn route(request: &httparse::Request<'_, '_>, site: &Site) -> Asked {
    let body = match request.method {
        Some("GET") => Body::Sent,
        Some("HEAD") => Body::LeftOut,
        _ => return Asked::Answer(Page::text(405, "the methods are GET and HEAD\n").response(Body::Sent)),
    };
    let target = request.path.unwrap_or_default();
    let page = match target.split_once('?').map_or(target, |(path, _)| path) {
        "/healthz" => Page::text(200, "ok\n"),
        "/readyz" => match site.not_ready() {
            None => Page::text(200, "ready\n"),
            Some(why) => Page::text(503, why),
        },
        "/metrics" => {
            let accept = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept"));
            let accept: Vec<&str> = accept.filter_map(|header| std::str::from_utf8(header.value).ok()).collect();
            return Asked::Numbers(Exposition::by_accept(&accept.join(",")), body);
        }
        _ => Page::text(404, "there are /metrics, /healthz and /readyz\n"),
    };
    Asked::Answer(page.response(body))
}

struct Page {
    status: u16,
    content_type: &'static str,
    body: String,
}

impl Page {
    fn text(status: u16, body: &str) -> Page {
        Page { status, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    fn response(&self, sent: Body) -> Vec<u8> {
        let Page { status, content_type, body } = self;
        let reason = match status {
            200 => "OK",
            404 => "Not Found",
            405 => "Method Not Allowed",
            431 => "Request Header Fields Too Large",
            500 => "Internal Server Error",
            503 => "Service Unavailable",
            _ => "Bad Request",
        };
        // RFC 9110 §15.5.6: a 405 lists what is allowed.
        let allow = if *status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
        let mut response = String::with_capacity(256 + body.len());
        // Writing to a String cannot fail.
        let _ = write!(
            response,
            "HTTP/1.1 {status} {reason}\r\n{allow}Connection: close\r\nCache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if sent == Body::Sent {
            response.push_str(body);
        }
        response.into_bytes()
    }
}

//! A request to the admin address and its answer: `GET` and `HEAD` of three paths (RFC 9110). No socket.

use std::fmt::Write as _;

use super::site::Site;

/// Octets of a request head; beyond it: 431.
pub(super) const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header lines of a request; beyond it: 431.
const HEAD_LINES_MAX: usize = 64;

/// The answer to what has come of a request so far; `None`: its head is not whole.
pub(super) fn answer(octets: &[u8], site: &mut Site) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; HEAD_LINES_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let page = match request.parse(octets) {
        Ok(httparse::Status::Complete(_)) => route(&request, site),
        Ok(httparse::Status::Partial) if octets.len() < HEAD_BYTES_MAX => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Page::text(431, "the request head is too large\n")
        }
        Err(_) => Page::text(400, "this is no HTTP/1.1 request\n"),
    };
    Some(page.response(request.method == Some("HEAD")))
}

fn route(request: &httparse::Request<'_, '_>, site: &mut Site) -> Page {
    if !matches!(request.method, Some("GET" | "HEAD")) {
        return Page::text(405, "the methods are GET and HEAD\n");
    }
    let target = request.path.unwrap_or_default();
    match target.split_once('?').map_or(target, |(path, _)| path) {
        "/healthz" => Page::text(200, "ok\n"),
        "/readyz" => match site.not_ready() {
            None => Page::text(200, "ready\n"),
            Some(why) => Page::text(503, why),
        },
        "/metrics" => {
            let accept = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept"));
            let accept: Vec<&str> = accept.filter_map(|header| std::str::from_utf8(header.value).ok()).collect();
            match site.metrics(&accept.join(",")) {
                Ok((content_type, body)) => Page { status: 200, content_type, body },
                Err(_) => Page::text(500, "the numbers cannot be written\n"),
            }
        }
        _ => Page::text(404, "there are /metrics, /healthz and /readyz\n"),
    }
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

    fn response(&self, is_head: bool) -> Vec<u8> {
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
        if !is_head {
            response.push_str(body);
        }
        response.into_bytes()
    }
}

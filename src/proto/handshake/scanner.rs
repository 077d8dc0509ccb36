//! Where a head ends (RFC 9112 §2.1, §2.2, §5): octets in, in pieces of any size; the head's last octet, or the first
//! illegal one, out. Keeps a state and three counters, never an octet, so a head costs one look at each of its octets
//! however it is cut. What the head says is judged afterwards, on the whole of it.

use super::refusal::Refusal;
use super::token::{FIELD, LINE, TCHAR, is_in, run};
use crate::proto::limits::{Limits, Role};

/// The first octet of a TLS record that carries a ClientHello (RFC 8446 §5.1, `handshake(22)`).
const TLS_HANDSHAKE: u8 = 0x16;

/// Finds the end of a request head (server role) or a response head (client role) in a stream that is cut anywhere.
///
/// ```
/// use wslab::proto::{Limits, Role, handshake::HeadScanner};
///
/// let mut scanner = HeadScanner::new(Role::Server);
/// assert_eq!(scanner.push(b"GET / HTTP/1.1\r\nHost: lab\r\n\r", &Limits::DEFAULT), Ok(None));
/// // One octet more ends the head; the other two begin the first frame.
/// assert_eq!(scanner.push(b"\n\x81\x80", &Limits::DEFAULT), Ok(Some(1)));
/// ```
#[derive(Clone, Debug)]
pub struct HeadScanner {
    role: Role,
    state: State,
    bytes_seen: usize,
    lines_seen: usize,
}

/// What the octet to come belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The very first octet of the connection.
    Start,
    /// The LF of an empty line before the start line.
    LeadingLf,
    /// The first octet of the start line, after an empty one.
    StartLineFirst,
    /// The rest of a request's method.
    Method,
    /// A request's target and version; all of a status line.
    StartLine,
    /// The LF that ends the start line.
    StartLineLf,
    /// The first octet of a header line, or the CR of the empty line.
    LineFirst,
    /// The rest of a header's name.
    Name,
    /// A header's value.
    Value,
    /// The LF that ends a header line.
    ValueLf,
    /// The LF that ends the head.
    EndLf,
    /// Behind the head.
    Ended,
    /// The head is refused, and stays so.
    Refused(Refusal),
}

impl HeadScanner {
    /// A scanner at the start of a connection. `role` is our own: a server reads requests, a client reads responses.
    pub fn new(role: Role) -> Self {
        HeadScanner { role, state: State::Start, bytes_seen: 0, lines_seen: 0 }
    }

    /// Takes the octets that follow those of the call before.
    ///
    /// `Some(n)`: the head ends with the first `n` octets of `chunk`; the others belong to the first frame. `None`: all of
    /// `chunk` belongs to the head and more is needed. The caller keeps the head's octets, and gives them as one slice
    /// to [`server::answer`](super::server::answer) or [`client::check`](super::client::check). Behind the end, every call returns `Some(0)`.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] at the first octet that no legal head holds at that place, or once the bounds in `limits` are reached
    /// without an end. It is the same for every way of cutting the head, and every later call returns it again.
    pub fn push(&mut self, chunk: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        match &self.state {
            State::Ended => return Ok(Some(0)),
            State::Refused(refusal) => return Err(refusal.clone()),
            _ => {}
        }
        let room = limits.head_bytes_max.saturating_sub(self.bytes_seen);
        let outcome = self.scan(chunk.get(..room).unwrap_or(chunk), limits);
        if let Err(refusal) = &outcome {
            self.state = State::Refused(refusal.clone());
        }
        outcome
    }

    /// Octets of the head seen so far.
    pub fn bytes_seen(&self) -> usize {
        self.bytes_seen
    }

    fn scan(&mut self, octets: &[u8], limits: &Limits) -> Result<Option<usize>, Refusal> {
        let mut rest = octets;
        loop {
            // The long stretches first: a state that reads on over a class of octets is left only by another octet.
            let len = match self.state {
                State::Method | State::Name => run(rest, TCHAR),
                State::StartLine if self.role == Role::Server => run(rest, LINE),
                State::StartLine | State::Value => run(rest, FIELD),
                _ => 0,
            };
            self.bytes_seen += len;
            let Some((&octet, behind)) = rest.get(len..).and_then(<[u8]>::split_first) else {
                break;
            };
            self.state = self.step(octet, limits)?;
            self.bytes_seen += 1;
            rest = behind;
            if self.state == State::Ended {
                return Ok(Some(octets.len() - rest.len()));
            }
        }
        if self.bytes_seen >= limits.head_bytes_max { Err(self.too_long(limits)) } else { Ok(None) }
    }

    fn step(&mut self, octet: u8, limits: &Limits) -> Result<State, Refusal> {
        match (&self.state, octet) {
            // A client that speaks TLS waits for an answer to its first record: tell it now, not after a time-out.
            (State::Start, TLS_HANDSHAKE) if self.role == Role::Server => Err(Refusal::TlsOnPlainPort),
            // RFC 9112 §2.2: a server ignores an empty line (we: one) before the request line.
            (State::Start, b'\r') if self.role == Role::Server => Ok(State::LeadingLf),
            (State::LeadingLf, b'\n') => Ok(State::StartLineFirst),

            (State::Start | State::StartLineFirst, octet) if is_in(octet, TCHAR) => {
                Ok(if self.role == Role::Server { State::Method } else { State::StartLine })
            }
            (State::Method, b' ') => Ok(State::StartLine),
            (State::StartLine, b'\r') => Ok(State::StartLineLf),
            (State::StartLineLf, b'\n') => Ok(State::LineFirst),

            (State::LineFirst, b'\r') => Ok(State::EndLf),
            (State::EndLf, b'\n') => Ok(State::Ended),
            (State::LineFirst, octet) if is_in(octet, TCHAR) => {
                if self.lines_seen >= limits.head_lines_max {
                    return Err(Refusal::TooManyLines { head_lines_max: limits.head_lines_max });
                }
                self.lines_seen += 1;
                Ok(State::Name)
            }
            (State::Name, b':') => Ok(State::Value),
            (State::Value, b'\r') => Ok(State::ValueLf),
            (State::ValueLf, b'\n') => Ok(State::LineFirst),

            (_, octet) => Err(self.refuse(octet)),
        }
    }

    /// Why `octet` may not be what comes next.
    fn refuse(&self, octet: u8) -> Refusal {
        let at = self.bytes_seen;
        match (&self.state, octet) {
            // RFC 9112 §2.2: a CR that no LF follows is invalid, wherever it stands.
            (State::LeadingLf | State::StartLineLf | State::ValueLf | State::EndLf, _) => {
                Refusal::BareCr { at: at.saturating_sub(1) }
            }
            // §2.2 allows to take a lone LF for a line's end; two parsers that disagree on it are a request smuggler's door.
            (_, b'\n') => Refusal::BareLf { at },
            // §5.2: obsolete line folding.
            (State::LineFirst, b' ' | b'\t') => Refusal::FoldedLine { at },
            // §5.1: no whitespace between name and colon.
            (State::Name, b' ' | b'\t') => Refusal::SpaceInName { at },
            (State::Name, b'\r') => Refusal::NoColon { at },
            (State::Start | State::StartLineFirst | State::Method, b'\r') => Refusal::StartLine,
            (_, octet) if octet.is_ascii_control() && octet != b'\t' => Refusal::ControlOctet { octet, at },
            (State::LineFirst | State::Name, octet) => Refusal::NameOctet { octet, at },
            (_, octet) => Refusal::StartLineOctet { octet, at },
        }
    }

    fn too_long(&self, limits: &Limits) -> Refusal {
        let head_bytes_max = limits.head_bytes_max;
        match self.state {
            // RFC 9112 §3: a request line longer than the server reads is answered with 414.
            State::Method | State::StartLine | State::StartLineLf if self.role == Role::Server => {
                Refusal::TargetTooLong { head_bytes_max }
            }
            _ => Refusal::HeadTooLong { head_bytes_max },
        }
    }
}

#[cfg(test)]
mod tests;

//! What happens to the sessions of one loop, counted in plain integers of that loop's own: nobody else ever looks in, and whoever
//! wants the numbers asks the loop for a copy. What passes through them is counted in [`Flow`](crate::proto::Flow).

use std::io;

use crate::proto::{Closure, ProtocolError, Stage, Wait, handshake::Refusal};

/// An enum whose variants index an array of numbers and have a name on a scale that people read.
macro_rules! causes {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them, in the order of the arrays that they index.
            pub const ALL: &[$name] = &[$($name::$variant),*];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The word for it: lower case, never another.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }
    };
}
pub(crate) use causes;

causes! {
    /// How an opening handshake ended.
    HandshakeEnd {
        /// In an open connection: 101.
        Opened = "opened",
        /// It was no upgrade but a plain request, answered with a page: 200.
        Page = "page",
        /// 400.
        BadRequest = "bad_request",
        /// An origin that may not connect: 403.
        Origin = "origin",
        /// A path that does not exist: 404.
        Path = "path",
        /// 405.
        Method = "method",
        /// Too late: 408, if TLS was up.
        Timeout = "timeout",
        /// 414.
        TargetTooLong = "target_too_long",
        /// A version other than 13: 426.
        Version = "version",
        /// Too many octets or lines: 431.
        HeadTooLarge = "head_too_large",
        /// No room: 503; or the oldest of too many handshakes: 408.
        Full = "full",
        /// Memory had run out, and the request was what held most.
        Shed = "shed",
        /// The server is about to end: 503.
        Draining = "draining",
        /// The peer ended TCP.
        Eof = "eof",
        /// TLS failed.
        Tls = "tls",
        /// The socket broke.
        Socket = "socket",
        /// As a client: the server's answer was none.
        BadAnswer = "bad_answer",
    }
}

causes! {
    /// How an open connection ended.
    CloseCause {
        /// The peer closed, and we answered.
        Peer = "peer",
        /// We closed, and the peer answered.
        Local = "local",
        /// The peer broke the protocol: 1002.
        ProtocolError = "protocol_error",
        /// The peer sent what is not UTF-8, or not DEFLATE: 1007.
        InvalidPayload = "invalid_payload",
        /// A frame or message beyond the limit: 1009.
        TooBig = "too_big",
        /// TCP ended without a Close frame.
        Eof = "eof",
        /// TLS failed.
        Tls = "tls",
        /// The socket broke.
        Socket = "socket",
        /// The peer was silent for too long: 1001.
        Idle = "idle",
        /// The peer took none of our output for too long.
        WriteStall = "write_stall",
        /// The peer did not answer our Close.
        CloseTimeout = "close_timeout",
        /// Memory had run out, and the connection held most of it: 1013.
        Shed = "shed",
    }
}

/// What broke underneath a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Tls,
    Socket,
}

impl Fault {
    pub(super) fn of(error: &io::Error) -> Fault {
        // Transport's word for a breach of TLS.
        if error.kind() == io::ErrorKind::InvalidData { Fault::Tls } else { Fault::Socket }
    }
}

/// What the sessions of one loop count. Gauges are true between turns; everything else only grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sessions in their opening handshake, TLS's included.
    pub opening: u64,
    /// Sessions that are open.
    pub open: u64,
    /// Sessions in their closing handshake, or about to end TCP.
    pub closing: u64,
    /// Opening handshakes that ended, by [`HandshakeEnd`].
    pub handshakes: [u64; HandshakeEnd::COUNT],
    /// Open connections that ended, by [`CloseCause`].
    pub closes: [u64; CloseCause::COUNT],
}

impl Counts {
    /// Sessions that ended an opening handshake so.
    pub fn handshakes(&self, end: HandshakeEnd) -> u64 {
        self.handshakes[end as usize]
    }

    /// Connections that ended so.
    pub fn closes(&self, cause: CloseCause) -> u64 {
        self.closes[cause as usize]
    }

    pub(super) fn entered(&mut self, stage: Stage) {
        *self.at(stage) += 1;
    }

    pub(super) fn left(&mut self, stage: Stage) {
        // A session outside of `Sessions` never entered.
        let gauge = self.at(stage);
        *gauge = gauge.saturating_sub(1);
    }

    fn at(&mut self, stage: Stage) -> &mut u64 {
        match stage {
            Stage::Opening => &mut self.opening,
            Stage::Open => &mut self.open,
            Stage::Closing => &mut self.closing,
        }
    }

    /// A session has come from one stage to another, perhaps past some between.
    pub(super) fn moved(&mut self, from: Stage, to: Stage, opened: bool) {
        if from == Stage::Opening && opened {
            self.handshakes[HandshakeEnd::Opened as usize] += 1;
        }
        self.left(from);
        self.entered(to);
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        match ended {
            Ended::Handshake(end) => self.handshakes[end as usize] += 1,
            Ended::Open(cause) => self.closes[cause as usize] += 1,
        }
    }

    /// Adds what another loop counted.
    pub fn merge(&mut self, other: &Counts) {
        let Counts { opening, open, closing, handshakes, closes } = other;
        self.opening += opening;
        self.open += open;
        self.closing += closing;
        self.handshakes.iter_mut().zip(handshakes).for_each(|(sum, more)| *sum += more);
        self.closes.iter_mut().zip(closes).for_each(|(sum, more)| *sum += more);
    }
}

/// How a session ended: before it was open, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Handshake(HandshakeEnd),
    Open(CloseCause),
}

impl Ended {
    pub(super) fn of(closure: &Closure, fault: Option<Fault>, was_open: bool) -> Ended {
        if was_open {
            Ended::Open(close_cause(closure, fault))
        } else {
            Ended::Handshake(handshake_end(closure, fault))
        }
    }
}

fn handshake_end(closure: &Closure, fault: Option<Fault>) -> HandshakeEnd {
    match (closure, fault) {
        (Closure::Refused(refusal), _) => refused_end(refusal),
        (Closure::HandshakeFailed(_), _) => HandshakeEnd::BadAnswer,
        (Closure::Shed { .. }, _) => HandshakeEnd::Shed,
        (Closure::TimedOut(_), _) => HandshakeEnd::Timeout,
        (_, Some(Fault::Tls)) => HandshakeEnd::Tls,
        (_, Some(Fault::Socket)) => HandshakeEnd::Socket,
        (Closure::Failed(_), None) => HandshakeEnd::BadRequest,
        (Closure::Peer { .. } | Closure::Local { .. } | Closure::Eof, None) => HandshakeEnd::Eof,
    }
}

fn refused_end(refusal: &Refusal) -> HandshakeEnd {
    match refusal.status() {
        _ if matches!(refusal, Refusal::TooManyHandshakes { .. }) => HandshakeEnd::Full,
        200 => HandshakeEnd::Page,
        403 => HandshakeEnd::Origin,
        404 => HandshakeEnd::Path,
        405 => HandshakeEnd::Method,
        408 => HandshakeEnd::Timeout,
        414 => HandshakeEnd::TargetTooLong,
        426 => HandshakeEnd::Version,
        431 => HandshakeEnd::HeadTooLarge,
        503 if *refusal == Refusal::ShuttingDown => HandshakeEnd::Draining,
        503 => HandshakeEnd::Full,
        _ => HandshakeEnd::BadRequest,
    }
}

fn close_cause(closure: &Closure, fault: Option<Fault>) -> CloseCause {
    match (closure, fault) {
        (Closure::Peer { .. }, _) => CloseCause::Peer,
        (Closure::Local { .. }, _) => CloseCause::Local,
        (Closure::Shed { .. }, _) => CloseCause::Shed,
        (Closure::Failed(ProtocolError::FrameTooBig { .. } | ProtocolError::MessageTooBig { .. }), _) => {
            CloseCause::TooBig
        }
        (
            Closure::Failed(ProtocolError::InvalidUtf8 | ProtocolError::InvalidDeflate | ProtocolError::CloseReason),
            _,
        ) => CloseCause::InvalidPayload,
        (Closure::Failed(_) | Closure::Refused(_) | Closure::HandshakeFailed(_), _) => CloseCause::ProtocolError,
        (Closure::TimedOut(Wait::Idle), _) => CloseCause::Idle,
        (Closure::TimedOut(Wait::WriteStall), _) => CloseCause::WriteStall,
        (Closure::TimedOut(Wait::Close | Wait::Handshake), _) => CloseCause::CloseTimeout,
        (Closure::Eof, Some(Fault::Tls)) => CloseCause::Tls,
        (Closure::Eof, Some(Fault::Socket)) => CloseCause::Socket,
        (Closure::Eof, None) => CloseCause::Eof,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::CloseCode;

    #[test]
    fn every_cause_has_a_word_of_its_own_that_a_label_can_be() {
        let words = HandshakeEnd::ALL.iter().map(|end| end.name()).collect::<Vec<_>>();
        for words in [words, CloseCause::ALL.iter().map(|cause| cause.name()).collect()] {
            for (at, word) in words.iter().enumerate() {
                assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word}");
                assert!(!words[at + 1..].contains(word), "{word} twice");
            }
        }
        for (at, end) in HandshakeEnd::ALL.iter().enumerate() {
            assert_eq!(*end as usize, at);
        }
    }

    #[test]
    fn what_failed_says_the_cause_by_the_code_that_answered_it() {
        let too_big = ProtocolError::FrameTooBig { len: 9, max: 8 };
        for error in [too_big, ProtocolError::InvalidUtf8, ProtocolError::CloseOneOctet, ProtocolError::InvalidDeflate]
        {
            let expected = match error.close_code() {
                CloseCode::TOO_BIG => CloseCause::TooBig,
                CloseCode::INVALID_PAYLOAD => CloseCause::InvalidPayload,
                _ => CloseCause::ProtocolError,
            };
            assert_eq!(close_cause(&Closure::Failed(error), None), expected, "{error}");
        }
    }

    #[test]
    fn a_fault_is_the_cause_only_where_nothing_else_was() {
        let local = Closure::Local { code: None };
        assert_eq!(close_cause(&local, Some(Fault::Socket)), CloseCause::Local);
        assert_eq!(close_cause(&Closure::Eof, Some(Fault::Socket)), CloseCause::Socket);
        assert_eq!(handshake_end(&Closure::Eof, Some(Fault::Tls)), HandshakeEnd::Tls);
        assert_eq!(handshake_end(&Closure::Refused(Refusal::ShuttingDown), Some(Fault::Tls)), HandshakeEnd::Draining);
    }

    #[test]
    fn merging_adds_every_number() {
        let one = Counts {
            opening: 1,
            open: 2,
            closing: 3,
            handshakes: std::array::from_fn(|at| at as u64 + 7),
            closes: std::array::from_fn(|at| at as u64 + 70),
        };
        let mut sum = one.clone();
        sum.merge(&one);
        let numbers = |Counts { opening, open, closing, handshakes, closes }: &Counts| {
            [&[*opening, *open, *closing][..], handshakes, closes].concat()
        };
        assert_eq!(numbers(&sum), numbers(&one).iter().map(|number| 2 * number).collect::<Vec<_>>());
    }
}

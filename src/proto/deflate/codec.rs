//! One connection's compression: owns a stream only in a direction that keeps context, or while a message is under way.

use super::{
    config::DeflateConfig,
    deflater::{Deflater, Shape},
    inflater::{Inflater, Inflation, Sink},
    negotiation::Agreed,
    pool::Codecs,
    quick,
};

/// What one connection does with compressed messages. Made when the handshake agreed on the extension.
///
/// ```
/// use wslab::proto::deflate::{Codec, Codecs, DeflateConfig, Inflation, InvalidDeflate, Sink, negotiation};
/// use wslab::proto::handshake::extensions::offers;
///
/// #[derive(Default)]
/// struct Text(Vec<u8>, [u8; 32]);
/// impl Sink for Text {
///     type Error = InvalidDeflate;
///     fn room(&mut self) -> &mut [u8] {
///         &mut self.1
///     }
///     fn filled(&mut self, len: usize) -> Result<(), InvalidDeflate> {
///         self.0.extend_from_slice(&self.1[..len]);
///         Ok(())
///     }
/// }
///
/// let config = DeflateConfig::default();
/// let (agreed, _answer) = negotiation::accept(&offers([&b"permessage-deflate"[..]])?, &config).unwrap();
/// let (mut codec, mut codecs) = (Codec::new(agreed, &config), Codecs::default());
/// let mut text = Text::default();
/// let inflation = codec.inflate(&mut codecs, b"\xf2\x48\xcd\xc9\xc9\x07\x00", true, &mut text)?;
/// assert_eq!(inflation, Inflation::Done);
/// assert_eq!(text.0, b"Hello");
/// assert!(codec.deflate(&mut codecs, &[b'*'; 1000]).is_some_and(|compressed| compressed.len() < 20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Codec {
    shape: Shape,
    message_bytes_min: usize,
    receive_takeover: bool,
    send_takeover: bool,
    /// With context takeover from the first compressed message on; without, while a message is under way.
    inflater: Option<Box<Inflater>>,
    /// With context takeover, from the first message on that is compressed.
    deflater: Option<Box<Deflater>>,
}

impl Codec {
    /// A codec that does what was agreed. Allocates nothing.
    pub fn new(agreed: Agreed, config: &DeflateConfig) -> Self {
        Codec {
            shape: Shape {
                window_bits: agreed.send_window_bits,
                level: config.level.clamp(1, 9),
                memory_level: config.memory_level.clamp(1, 9),
            },
            message_bytes_min: config.message_bytes_min,
            receive_takeover: agreed.receive_takeover,
            send_takeover: agreed.send_takeover,
            inflater: None,
            deflater: None,
        }
    }

    /// Takes the next unmasked octets of a compressed message, cut anywhere, and passes what is in them on to `sink`.
    /// `is_end`: they are its last ones. There may be none. Where that [paused](Inflation::Paused), the call is to be repeated with the
    /// rest of them and the same `is_end`, before anything else.
    ///
    /// # Errors
    /// [`InvalidDeflate`](super::InvalidDeflate), or what the sink said. The connection is to be failed, and this codec not to be used again.
    pub fn inflate<S: Sink>(
        &mut self,
        codecs: &mut Codecs,
        input: &[u8],
        is_end: bool,
        sink: &mut S,
    ) -> Result<Inflation, S::Error> {
        if !is_end || self.receive_takeover {
            let inflater = self.inflater.get_or_insert_with(|| Box::new(codecs.take_inflater()));
            let inflation = inflater.push(input, sink)?;
            if is_end && inflation == Inflation::Done {
                inflater.finish()?;
            }
            return Ok(inflation);
        }
        // Most messages are of one piece; those need no box.
        let mut inflater = self.inflater.take().map_or_else(|| codecs.take_inflater(), |boxed| *boxed);
        let inflation = inflater.push(input, sink)?;
        if inflation == Inflation::Done {
            let finished = inflater.finish();
            codecs.give_inflater(inflater);
            finished?;
        } else {
            self.inflater = Some(Box::new(inflater));
        }
        Ok(inflation)
    }

    /// Compresses a message. The result is the payload of a message with RSV1 set, in one frame or several, and must be sent.
    ///
    /// `None`: the message is to be sent as it is, without RSV1 (RFC 7692 §6), because it is too short or does not shrink.
    pub fn deflate<'c>(&mut self, codecs: &'c mut Codecs, payload: &[u8]) -> Option<&'c [u8]> {
        if payload.len() < self.message_bytes_min {
            return None;
        }
        if self.send_takeover {
            let deflater = self.deflater.get_or_insert_with(|| Box::new(Deflater::new(self.shape)));
            // Sent even if it grew: it is in our window, so it must be in the peer's.
            return deflater.compress(payload, codecs.output());
        }
        if self.shape.level == 1 && payload.len() <= quick::PAYLOAD_BYTES_MAX {
            let (quick, output) = codecs.quick();
            return quick.compress(payload, self.shape.window_bits, output);
        }
        let (deflater, output) = codecs.fresh_deflater(self.shape);
        deflater?.compress(payload, output).filter(|compressed| compressed.len() < payload.len())
    }

    /// Heap that this connection holds now.
    pub fn memory_bytes(&self) -> usize {
        self.inflater.as_ref().map_or(0, |_| Inflater::memory_bytes())
            + self.deflater.as_ref().map_or(0, |deflater| deflater.shape().memory_bytes())
    }
}

//! What the owner of an endpoint chooses about compression, and what each choice costs.

/// Whether to compress, and whether context survives a message (RFC 7692 §7.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeflateMode {
    /// Not offered, not accepted.
    Off,
    /// Every message stands alone, both ways. A connection owns nothing between messages; a loop owns at most four
    /// idle inflaters and one compressor, about 560 KiB.
    #[default]
    On,
    /// Messages refer to earlier ones, in each direction where the peer agrees: small alike messages shrink several
    /// times further. A connection owns 46 KiB from the first compressed message it receives (until then: nothing) and
    /// 371 KiB from the first it sends (see [`DeflateConfig::memory_level`]): 10,000 active ones 4 GiB.
    Takeover,
}

/// Settings of permessage-deflate. Values outside their range count as the nearest inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeflateConfig {
    /// Whether to compress, and at which price.
    pub mode: DeflateMode,
    /// Effort, 1 to 9. 1 KiB of JSON without takeover takes 1.5 µs at level 1 and leaves 370 octets; about 10 µs and 275
    /// octets at level 6. Level 2 to 5 are hardly faster than 6 at that size.
    pub level: u8,
    /// Memory a compressor spends on what it has not written yet, 1 to 9: 7 × 2^(level + 6) octets. From 8 to 1 a
    /// compressor shrinks from 371 to 260 KiB; blocks, and so large messages, shrink less well.
    pub memory_level: u8,
    /// The farthest our compressor looks back, 9 to 15: 2^bits octets, at 4 octets of memory each. The peer may demand
    /// less, never more. (There is no such bound for what we receive: an inflater has the same size whatever it is.)
    pub window_bits: u8,
    /// Shorter messages are sent as they are. Below some 64 octets there is little to find.
    pub message_bytes_min: usize,
}

impl DeflateConfig {
    /// The defaults: on, for speed.
    pub const DEFAULT: DeflateConfig =
        DeflateConfig { mode: DeflateMode::On, level: 1, memory_level: 8, window_bits: 15, message_bytes_min: 64 };
}

impl Default for DeflateConfig {
    fn default() -> Self {
        DeflateConfig::DEFAULT
    }
}

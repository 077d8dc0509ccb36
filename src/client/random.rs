//! What a peer must not foresee: masking keys (RFC 6455 §10.3) and nonces (§4.1). ChaCha, seeded by the operating system once.

use std::io;

use rand::{
    Rng, SeedableRng,
    rngs::{StdRng, SysRng},
};

use crate::proto::MaskKeys;

/// A generator that nobody shares.
///
/// # Errors
/// The operating system has no randomness to give.
pub(super) fn generator() -> io::Result<StdRng> {
    StdRng::try_from_rng(&mut SysRng).map_err(|error| io::Error::other(format!("no randomness: {error}")))
}

/// Masking keys without end.
pub(super) fn mask_keys(mut generator: StdRng) -> MaskKeys {
    Box::new(move || generator.next_u32().to_ne_bytes())
}

/// A nonce for one opening handshake.
pub(super) fn nonce(generator: &mut StdRng) -> [u8; 16] {
    let mut nonce = [0; 16];
    generator.fill_bytes(&mut nonce);
    nonce
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_keys_nor_nonces_nor_generators_are_alike() {
        let mut keys = mask_keys(generator().unwrap());
        let mut others = mask_keys(generator().unwrap());
        // 2,000 draws of 32 bits have an equal pair once in 2,000 runs; three pairs, never.
        let drawn: HashSet<_> = (0..1000).flat_map(|_| [keys(), others()]).collect();
        assert!(drawn.len() > 1997, "{}", drawn.len());
        let mut generator = generator().unwrap();
        assert_ne!(nonce(&mut generator), nonce(&mut generator));
    }
}

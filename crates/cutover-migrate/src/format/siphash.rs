//! SipHash-1-3 with a key of zeros: what refinery's checksums are (`siphasher::sip::SipHasher13::new()`).
//!
//! After "SipHash: a fast short-input PRF", Aumasson and Bernstein, 2012, with one round a word and three at the end.

/// The hash of a message.
pub(super) fn siphash13(message: &[u8]) -> u64 {
    let mut state =
        [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];
    let mut words = message.chunks_exact(8);
    for word in &mut words {
        absorb(&mut state, little_endian(word));
    }
    // The last word: what is left over, and the length's lowest byte on top.
    absorb(&mut state, little_endian(words.remainder()) | (message.len() as u64) << 56);
    state[2] ^= 0xff;
    for _ in 0..3 {
        round(&mut state);
    }
    state.iter().fold(0, |hash, word| hash ^ word)
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    state[0] ^= word;
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use super::*;

    /// The standard library's hasher is SipHash-1-3 too; refinery used it until it named the algorithm.
    #[test]
    fn is_the_standard_library_s() {
        let message: Vec<u8> = (0..100).map(|n: u8| n.wrapping_mul(37)).collect();
        for length in 0..message.len() {
            let mut hasher = DefaultHasher::new();
            hasher.write(&message[..length]);
            assert_eq!(siphash13(&message[..length]), hasher.finish(), "{length} bytes");
        }
    }
}

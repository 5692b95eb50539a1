//! A text that no two owners share.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
};

/// 128 random bits as 32 hexadecimal digits, from the keys that the standard library seeds its hash maps with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    pub(crate) fn random() -> Self {
        let half = || {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u32(std::process::id());
            hasher.finish()
        };
        Self(format!("{:016x}{:016x}", half(), half()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

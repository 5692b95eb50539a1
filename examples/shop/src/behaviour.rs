//! What this commit's shop does, read from a file of the commit.

use std::{fs, io, path::Path};

use serde::Deserialize;

/// The content of `behaviour.toml`; each key is explained there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Behaviour {
    pub(crate) order_notes: bool,
    pub(crate) error_share: f64,
    pub(crate) slow_share: f64,
    pub(crate) slow_ms: u64,
    pub(crate) ready_after_ms: u64,
    pub(crate) exit_at_once: bool,
    pub(crate) ignore_sigterm: bool,
    pub(crate) print_database_url: bool,
}

/// The file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidBehaviour {
    #[error("behaviour.toml: {0}")]
    Unreadable(#[from] io::Error),
    #[error("behaviour.toml: {0}")]
    Invalid(#[from] toml::de::Error),
}

impl Behaviour {
    pub(crate) fn read(path: &Path) -> Result<Self, InvalidBehaviour> {
        Ok(toml::from_str(&fs::read_to_string(path)?)?)
    }
}

/// Whether the request with this number, from 0, is among the given share: exactly `share × n` of the first n are,
/// rounded down, evenly spread. No luck is involved, so a share of 10 % is 10 % also of 20 requests.
pub(crate) fn is_among(number: u64, share: f64) -> bool {
    // The smallest nudge: 0.1 × 10 must not fall below 1 by rounding.
    let so_far = |count: u64| (count as f64 * share + 1e-9).floor();
    so_far(number + 1) > so_far(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exact_and_spread() {
        for (share, expected) in [(0.0, 0), (0.1, 100), (0.25, 250), (1.0, 1000)] {
            assert_eq!((0..1000).filter(|number| is_among(*number, share)).count(), expected, "{share}");
        }
        assert_eq!((0..30).filter(|number| is_among(*number, 0.1)).collect::<Vec<_>>(), [9, 19, 29]);
    }

    #[test]
    fn the_committed_file_is_good_behaviour() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("behaviour.toml");
        assert_eq!(Behaviour::read(&file).unwrap(), Behaviour::default());
    }
}

//! Names and numbers that must not be swapped for one another.
//!
//! Each is a newtype whose constructor checks what the rest of the code relies on: names are short and safe in
//! file names, labels and URLs; a release number starts at 1 and prints as `r41`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not a valid name or id; the text says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidId(String);

/// The longest name accepted: a Kubernetes label value is at most 63 characters.
pub const NAME_MAX: usize = 63;

fn check_name(kind: &str, text: &str) -> Result<(), InvalidId> {
    let shaped = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if shaped && text.len() <= NAME_MAX {
        return Ok(());
    }
    Err(InvalidId(format!(
        "`{text}` is not a {kind} name: use 1 to {NAME_MAX} lower-case letters, digits and `-`, beginning with a letter"
    )))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                check_name($kind, text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$" })
            }
        }
    };
}

name!(
    /// The application being shipped.
    ServiceName,
    "service"
);
name!(
    /// A target with its databases, gates and limits: `staging`, `production`.
    EnvironmentName,
    "environment"
);

/// A release's number within its environment: 1 or more, printed and parsed as `r41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ReleaseNumber(u64);

impl ReleaseNumber {
    /// The first release of an environment.
    pub const FIRST: Self = Self(1);

    /// `None` for 0: releases count from 1.
    pub fn new(number: u64) -> Option<Self> {
        (number > 0).then_some(Self(number))
    }

    /// The number itself, 1 or more.
    pub fn get(self) -> u64 {
        self.0
    }

    /// The number the next release of the environment gets.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("r{}", self.0))
    }
}

impl FromStr for ReleaseNumber {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let digits = text.strip_prefix('r').unwrap_or(text);
        let number = digits.parse().ok().and_then(Self::new);
        number.ok_or_else(|| InvalidId(format!("`{text}` is not a release: write it as r41")))
    }
}

impl TryFrom<u64> for ReleaseNumber {
    type Error = InvalidId;
    fn try_from(number: u64) -> Result<Self, InvalidId> {
        Self::new(number).ok_or_else(|| InvalidId("release numbers begin at 1".into()))
    }
}

impl From<ReleaseNumber> for u64 {
    fn from(number: ReleaseNumber) -> u64 {
        number.0
    }
}

/// A run's number within its environment, 1 or more, printed as `run 7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunNumber(pub u64);

impl fmt::Display for RunNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.0)
    }
}

/// A full git commit id: 40 (SHA-1) or 64 (SHA-256) lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GitSha(String);

impl GitSha {
    /// All digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for GitSha {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hex && matches!(text.len(), 40 | 64) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidId(format!("`{text}` is not a full git commit id (40 or 64 hexadecimal digits)")))
    }
}

impl TryFrom<String> for GitSha {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<GitSha> for String {
    fn from(sha: GitSha) -> String {
        sha.0
    }
}

impl fmt::Display for GitSha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_in_paths_and_labels() {
        for good in ["shop", "a", "shop-2", &"a".repeat(63)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "Shop", "-a", "a-", "2shop", "a/b", "..", "ü", &"a".repeat(64)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn releases_print_as_they_parse() {
        let release: ReleaseNumber = "r41".parse().unwrap();
        assert_eq!(release.to_string(), "r41");
        assert_eq!("41".parse(), Ok(release));
        for bad in ["r0", "r", "rr1", "r-1", "41r"] {
            assert!(bad.parse::<ReleaseNumber>().is_err(), "{bad}");
        }
        assert!(serde_json::from_str::<ReleaseNumber>("0").is_err());
    }

    #[test]
    fn a_sha_is_full_and_lower_case() {
        assert!("0123456789abcdef0123456789abcdef01234567".parse::<GitSha>().is_ok());
        for bad in ["0123456", "0123456789ABCDEF0123456789abcdef01234567"] {
            assert!(bad.parse::<GitSha>().is_err());
        }
    }
}

//! The words a value of `cutover.toml` may be written in. Each type parses what people write, refuses what it
//! can't mean, and prints back the same form, so that an error points at the value itself.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// What is wrong with a value, as a sentence that says what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub(crate) String);

/// Implements the traits of a type that is written as one string.
macro_rules! written_as_text {
    ($type:ty, $name:literal, $example:literal) => {
        impl TryFrom<String> for $type {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "examples": [$example] })
            }
        }
    };
}

/// A length of time from zero to 30 days, written with its unit: `"30s"`, `"250ms"`, `"1h 30m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

impl Span {
    const MAX: Duration = Duration::from_secs(30 * 24 * 3600);

    /// A span of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The same as a standard duration.
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Zero; each field says what it means there.
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl FromStr for Span {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let parsed = text.parse::<jiff::SignedDuration>().ok();
        let span = parsed.and_then(|signed| Duration::try_from(signed).ok());
        span.filter(|span| *span <= Self::MAX).map(Self).ok_or_else(|| {
            InvalidValue(format!("`{text}` is not a length of time: write a number with its unit, such as \"30s\", \"250ms\" or \"1h 30m\", up to 30 days"))
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::SignedDuration::try_from(self.0) {
            Ok(signed) => write!(f, "{signed:#}"),
            Err(_) => write!(f, "{:?}", self.0),
        }
    }
}

written_as_text!(Span, "Span", "30s");

/// A share of a whole, from 0 to 1, written as a percentage: `"1%"`, `"0.1%"`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(f64);

impl Share {
    /// `None` outside 0 to 1.
    pub fn new(share: f64) -> Option<Self> {
        (0.0..=1.0).contains(&share).then_some(Self(share))
    }

    /// The share, 0 to 1.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// `percent` hundredths; for defaults.
    pub(crate) const fn percent(percent: u8) -> Self {
        Self(percent as f64 / 100.0)
    }
}

impl FromStr for Share {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let number = text.trim().strip_suffix('%').and_then(|digits| digits.trim().parse::<f64>().ok());
        number.and_then(|percent| Self::new(percent / 100.0)).ok_or_else(|| {
            InvalidValue(format!("`{text}` is not a share: write a percentage from \"0%\" to \"100%\", such as \"1%\" or \"0.1%\""))
        })
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six decimals of a percent, without the noise that a multiplication by 100 adds.
        let text = format!("{:.6}", self.0 * 100.0);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

written_as_text!(Share, "Share", "1%");

/// A latency limit and the share of requests that may exceed it: `"250ms for 1%"`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlowerThan {
    /// Requests slower than this count.
    pub limit: Span,
    /// The release is bad when more than this share of its requests count.
    pub share: Share,
}

impl FromStr for SlowerThan {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (limit, share) = text.split_once(" for ").ok_or_else(|| {
            InvalidValue(format!(
                "`{text}` is not a latency limit: write it as \"250ms for 1%\", a time and the share of requests that is too many"
            ))
        })?;
        let slower = Self { limit: limit.trim().parse()?, share: share.trim().parse()? };
        if slower.limit.is_zero() || slower.share.get() <= 0.0 || slower.share.get() >= 1.0 {
            return Err(InvalidValue(format!(
                "`{text}`: the time must be above zero and the share between 0% and 100%"
            )));
        }
        Ok(slower)
    }
}

impl fmt::Display for SlowerThan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.limit, self.share)
    }
}

written_as_text!(SlowerThan, "SlowerThan", "250ms for 1%");

/// A value or where to find it: `"info"`, `"env:NAME"` or `"file:path"`. References keep secrets out of files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Value {
    /// The text itself. Never a secret: the configuration refuses one.
    Plain(String),
    /// The environment variable of that name, of the process that needs the value.
    Env(String),
    /// The content of that file, without its last newline.
    File(PathBuf),
}

impl Value {
    /// True where the text stands elsewhere, which is what a secret needs.
    pub fn is_reference(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }
}

impl FromStr for Value {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Some(name) = text.strip_prefix("env:") {
            let shaped = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            return shaped.then(|| Self::Env(name.to_owned())).ok_or_else(|| {
                InvalidValue(format!("`{text}` does not name an environment variable: write env:NAME with letters, digits and `_`"))
            });
        }
        match text.strip_prefix("file:") {
            Some("") => Err(InvalidValue("`file:` needs a path after it".into())),
            Some(path) => Ok(Self::File(path.into())),
            None if text.contains('\0') => Err(InvalidValue("a value can't hold a NUL character".into())),
            None => Ok(Self::Plain(text.to_owned())),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

written_as_text!(Value, "Value", "env:DATABASE_URL");

/// Environment variables of a process, by name.
pub type Variables = BTreeMap<String, Value>;

/// A program and its arguments, started without a shell. Written as one string that is split as a shell would
/// (quotes work, variables and pipes don't): `"target/release/shop --fast"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// From a program and its arguments.
    ///
    /// # Errors
    /// [`InvalidValue`] where there is no program.
    pub fn from_words(words: impl IntoIterator<Item = String>) -> Result<Self, InvalidValue> {
        let words: Vec<String> = words.into_iter().collect();
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self(words)),
            _ => Err(InvalidValue("a command can't be empty".into())),
        }
    }

    /// Program first; never empty.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for CommandLine {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match shell_words::split(text) {
            Ok(words) => Self::from_words(words),
            Err(_) => Err(InvalidValue(format!("`{text}` has a quote that is not closed"))),
        }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shell_words::join(&self.0))
    }
}

written_as_text!(CommandLine, "CommandLine", "target/release/shop");

/// An absolute URL path such as `/health/ready`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UrlPath(String);

impl UrlPath {
    /// The path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UrlPath {
    type Err = InvalidValue;
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let plain = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#' && b != b'"' && b != b'\\');
        if text.starts_with('/') && plain && text.len() <= 1024 {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidValue(format!(
            "`{text}` is not a URL path: write one that begins with `/`, such as \"/health/ready\""
        )))
    }
}

impl fmt::Display for UrlPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

written_as_text!(UrlPath, "UrlPath", "/health/ready");

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip<T: FromStr<Err = InvalidValue> + fmt::Display + PartialEq + fmt::Debug>(text: &str) -> T {
        let value: T = text.parse().unwrap();
        assert_eq!(value.to_string().parse::<T>().unwrap(), value, "{text}");
        value
    }

    #[test]
    fn spans_need_a_unit() {
        assert_eq!(roundtrip::<Span>("250ms").get(), Duration::from_millis(250));
        assert_eq!(roundtrip::<Span>("1h 30m").get(), Duration::from_secs(5400));
        assert_eq!(roundtrip::<Span>("0s").get(), Duration::ZERO);
        for bad in ["", "30", "-1s", "31d", "1 fortnight"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(roundtrip::<Share>("0.1%").get(), 0.001);
        assert_eq!("1%".parse::<Share>().unwrap().to_string(), "1%");
        for bad in ["", "1", "0.01", "101%", "-1%", "nan%"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }

    #[test]
    fn latency_limits_read_as_a_sentence() {
        let slow = roundtrip::<SlowerThan>("250ms for 1%");
        assert_eq!((slow.limit.get(), slow.share.get()), (Duration::from_millis(250), 0.01));
        for bad in ["250ms", "250ms for 0%", "0s for 1%", "1% for 250ms", "250ms for 100%"] {
            assert!(bad.parse::<SlowerThan>().is_err(), "{bad}");
        }
    }

    #[test]
    fn values_say_where_they_stand() {
        assert_eq!(roundtrip::<Value>("env:DATABASE_URL"), Value::Env("DATABASE_URL".into()));
        assert_eq!(roundtrip::<Value>("file:/run/secret"), Value::File("/run/secret".into()));
        assert_eq!(roundtrip::<Value>("info"), Value::Plain("info".into()));
        for bad in ["env:", "env:1A", "env:A B", "file:", "a\0b"] {
            assert!(bad.parse::<Value>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn commands_split_as_a_shell_would() {
        let command = roundtrip::<CommandLine>("node dist/main.js --name 'two words'");
        assert_eq!(command.words(), ["node", "dist/main.js", "--name", "two words"]);
        for bad in ["", "  ", "'open", "''"] {
            assert!(bad.parse::<CommandLine>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn url_paths_are_absolute() {
        roundtrip::<UrlPath>("/health/ready?full=1");
        for bad in ["", "health", "http://x/", "/a b", "/ü"] {
            assert!(bad.parse::<UrlPath>().is_err(), "{bad}");
        }
    }
}

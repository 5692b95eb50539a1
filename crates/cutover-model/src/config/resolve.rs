//! What a reference stands for. The rule is here, once; the look-ups are the caller's, so that this crate touches nothing.

use std::{
    env::VarError,
    io::{self, Read},
    path::{Path, PathBuf},
};

use secrecy::SecretString;

use super::Value;

/// A value in a file is at most this long, in bytes.
const LONGEST: u64 = 64 * 1024;

/// A reference that leads nowhere, by name and never by value.
#[derive(Debug, thiserror::Error)]
pub enum Unresolved {
    /// There is no such variable.
    #[error("env:{0}, which is not set")]
    NotSet(String),
    /// The file can't be read, or is longer than 64 KiB.
    #[error("the file {path}, which can't be read: {cause}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// What stands there is no text for a variable.
    #[error("something that is not text or holds a NUL character")]
    NotText,
}

impl Value {
    /// The text that this value is or refers to, without its last line break. Relative files stand in `directory`;
    /// `variable` and `open` are `std::env::var` and `File::open` but in tests.
    ///
    /// # Errors
    /// [`Unresolved`]; its text goes on from "it refers to".
    pub fn resolve<R: Read>(
        &self,
        directory: &Path,
        variable: impl FnOnce(&str) -> Result<String, VarError>,
        open: impl FnOnce(&Path) -> io::Result<R>,
    ) -> Result<SecretString, Unresolved> {
        let text = match self {
            Self::Plain(text) => text.clone(),
            Self::Env(name) => variable(name).map_err(|error| match error {
                VarError::NotPresent => Unresolved::NotSet(name.clone()),
                VarError::NotUnicode(_) => Unresolved::NotText,
            })?,
            Self::File(path) => {
                let path = directory.join(path);
                open(&path).and_then(read).map_err(|cause| Unresolved::Unreadable { path, cause })?
            }
        };
        if text.contains('\0') {
            return Err(Unresolved::NotText);
        }
        Ok(SecretString::from(text))
    }
}

fn read(file: impl Read) -> io::Result<String> {
    let mut text = String::new();
    let length = file.take(LONGEST + 1).read_to_string(&mut text)?;
    if length as u64 > LONGEST {
        return Err(io::Error::other(format!("it is longer than {LONGEST} bytes")));
    }
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn resolved(value: &str, content: &str) -> Result<String, String> {
        let value: Value = value.parse().unwrap();
        let variable = |name: &str| match name {
            "SET" => Ok("from the environment".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        let open = |path: &Path| match path == Path::new("/here/token") {
            true => Ok(content.as_bytes()),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        };
        let secret = value.resolve(Path::new("/here"), variable, open);
        secret.map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_found_where_it_says() {
        assert_eq!(resolved("plain", ""), Ok("plain".into()));
        assert_eq!(resolved("env:SET", ""), Ok("from the environment".into()));
        for content in ["secret", "secret\n", "secret\r\n"] {
            assert_eq!(resolved("file:token", content), Ok("secret".into()));
        }
        assert_eq!(resolved("file:token", "two\nlines\n\n"), Ok("two\nlines\n".into()));
    }

    #[test]
    fn what_leads_nowhere_is_named_without_a_value() {
        assert_eq!(resolved("env:GONE", "").unwrap_err(), "env:GONE, which is not set");
        assert!(
            resolved("file:gone", "").unwrap_err().starts_with("the file /here/gone, which can't be read")
        );
        let long = "x".repeat(65 * 1024);
        assert!(resolved("file:token", &long).unwrap_err().contains("longer than 65536 bytes"));
        assert!(!resolved("file:token", "s3cr3t\0").unwrap_err().contains("s3cr3t"));
    }
}

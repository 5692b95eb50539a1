//! Finds the value that a reference of the description stands for.

use cutover_model::config::Value;
use secrecy::SecretString;

/// The value, or why there is none: a sentence that names the reference and never the value.
pub(crate) fn resolve(value: &Value) -> Result<SecretString, String> {
    match value {
        Value::Plain(text) => Ok(SecretString::from(text.as_str())),
        Value::Env(name) => match std::env::var(name) {
            Ok(text) => Ok(SecretString::from(text)),
            Err(std::env::VarError::NotPresent) => Err(format!("the environment variable {name} is not set")),
            Err(std::env::VarError::NotUnicode(_)) => {
                Err(format!("the environment variable {name} is not valid UTF-8"))
            }
        },
        Value::File(path) => match std::fs::read_to_string(path) {
            Ok(text) => Ok(SecretString::from(text.strip_suffix('\n').unwrap_or(&text))),
            Err(error) => Err(format!("{} can't be read: {error}", path.display())),
        },
    }
}

//! Which secrets may show up in what the team's commands write.

use std::{fs::File, path::Path};

use cutover_model::{
    config::{Settings, Value},
    redact::Redactor,
};
use secrecy::SecretString;

/// Parts of the names of variables that hold secrets by custom, as in CI systems.
const TELLING: [&str; 8] =
    ["password", "passwd", "secret", "token", "api_key", "apikey", "private_key", "credential"];

/// Masks all that the description refers to, as far as it has a value here, and what the caller's own environment calls a secret.
pub(super) fn redactor(settings: &Settings, root: &Path) -> Redactor {
    let variables = settings.place.environment.values();
    let databases = settings.migrations.iter().map(|migrations| &migrations.database);
    let references = variables.chain(databases).chain(&settings.place.database);
    let mut secrets: Vec<_> = references.filter_map(|value| find(value, root)).collect();
    let telling = |name: &str| {
        let name = name.to_ascii_lowercase();
        TELLING.iter().any(|part| name.contains(part))
    };
    let own = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    secrets.extend(own.filter(|(name, _)| telling(name)).map(|(_, value)| SecretString::from(value)));
    Redactor::new(&secrets)
}

fn find(value: &Value, root: &Path) -> Option<SecretString> {
    let elsewhere = value.is_reference().then_some(value)?;
    elsewhere.resolve(root, |name| std::env::var(name), |path| File::open(path)).ok()
}

//! The environment of a replica: what the release asks for, what Cutover sets, and little else.
//!
//! A replica does not inherit the host's environment, so that it runs the same wherever the host was started and sees no
//! secret of another service. From the host it gets only [`INHERITED`] and `LC_*`. The release's own variables win
//! over these; `PORT`, `CUTOVER_RELEASE` and `CUTOVER_REPLICA` win over all.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
};

use cutover_model::{
    config::{Unresolved, Value, Variables},
    fleet::RunSpec,
    redact::Redactor,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::process;

/// What a replica gets from the host's own environment, with every variable that begins with `LC_`.
pub const INHERITED: [&str; 7] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR"];

/// Variables with what they stand for.
#[derive(Default)]
pub(crate) struct Resolved {
    pub(crate) values: BTreeMap<String, SecretString>,
}

impl Resolved {
    /// Masks each value that was a reference.
    pub(crate) fn redactor(&self, variables: &Variables) -> Redactor {
        let secret =
            |(name, value): (&String, &Value)| value.is_reference().then(|| self.values.get(name)).flatten();
        Redactor::new(variables.iter().filter_map(secret))
    }
}

/// A variable whose reference leads nowhere where the host runs.
#[derive(Debug, thiserror::Error)]
#[error("the variable {variable} refers to {cause} where the host runs")]
pub(crate) struct Unresolvable {
    variable: String,
    cause: Unresolved,
}

/// Looks every reference up; relative files stand in `directory`. Blocks on the disk.
pub(crate) fn resolve(variables: &Variables, directory: &Path) -> Result<Resolved, Vec<Unresolvable>> {
    let mut resolved = Resolved::default();
    let mut missing = Vec::new();
    for (variable, value) in variables {
        match one(variable, value, directory) {
            Ok(text) => {
                resolved.values.insert(variable.clone(), text);
            }
            Err(error) => missing.push(error),
        }
    }
    if missing.is_empty() { Ok(resolved) } else { Err(missing) }
}

/// The secrets of a replica that an earlier host has started. Its own environment holds the very values it was given;
/// where it has hidden them, what the references say now must do.
pub(crate) fn secrets_of_running(run: &RunSpec, pid: u32) -> Vec<SecretString> {
    let is_secret = |name: &String| run.variables.get(name).is_some_and(Value::is_reference);
    let given = process::environment_of(pid).unwrap_or_default().into_iter();
    let given = given.filter(|(name, _)| is_secret(name)).map(|(_, value)| SecretString::from(value));
    let referred = run.variables.iter().filter(|(name, _)| is_secret(name));
    given.chain(referred.filter_map(|(name, value)| one(name, value, &run.directory).ok())).collect()
}

/// What every replica gets from the host's environment.
pub(crate) fn inherited() -> impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)> {
    std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_"))
    })
}

/// The file that a command's first word means: relative to `directory` where it holds a slash, else on the search path
/// that the replica will have.
pub(crate) fn program(run: &RunSpec) -> Result<PathBuf, String> {
    let word = &run.command.words()[0];
    if word.contains('/') {
        let path = run.directory.join(word);
        return executable(&path)
            .then_some(path.clone())
            .ok_or_else(|| format!("the program {} does not exist or is not executable", path.display()));
    }
    let search = match run.variables.get("PATH") {
        Some(Value::Plain(path)) => path.into(),
        _ => std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
    };
    std::env::split_paths(&search)
        .map(|place| run.directory.join(place).join(word))
        .find(|path| executable(path))
        .ok_or_else(|| format!("the program {word} is not on the PATH that replicas get"))
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn one(variable: &str, value: &Value, directory: &Path) -> Result<SecretString, Unresolvable> {
    let found = value.resolve(directory, |name| std::env::var(name), |path| File::open(path));
    found.map_err(|cause| Unresolvable { variable: variable.to_owned(), cause })
}

/// The pairs that a command gets.
pub(crate) fn pairs(resolved: &Resolved) -> impl Iterator<Item = (&String, &str)> {
    resolved.values.iter().map(|(name, value)| (name, value.expose_secret()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_and_missing_ones_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), "s3cr3t-value\n").unwrap();
        let variables: Variables =
            [("A", "plain"), ("B", "file:token")].map(|(k, v)| (k.into(), v.parse().unwrap())).into();
        let resolved = resolve(&variables, dir.path()).unwrap();
        assert_eq!(pairs(&resolved).map(|(_, value)| value).collect::<Vec<_>>(), ["plain", "s3cr3t-value"]);
        assert_eq!(resolved.redactor(&variables).redact("plain s3cr3t-value"), "plain [redacted]");

        let missing: Variables = [("C", "env:CUTOVER_NOT_SET"), ("D", "file:nowhere")]
            .map(|(k, v)| (k.into(), v.parse().unwrap()))
            .into();
        let said: Vec<String> =
            resolve(&missing, dir.path()).err().unwrap().iter().map(ToString::to_string).collect();
        assert!(said[0].contains("C refers to env:CUTOVER_NOT_SET"), "{said:?}");
        assert!(said[1].contains("nowhere, which can't be read"), "{said:?}");
    }
}

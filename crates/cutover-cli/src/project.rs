//! The described service on this machine: its file, its folder, its state directory.

use std::path::{Path, PathBuf, absolute};

use cutover_model::{
    EnvironmentName,
    config::{Config, ConfigError, Settings, Value},
    redact::Redactor,
};
use miette::{LabeledSpan, NamedSource, miette};

use crate::{
    args::Global,
    failure::{Failure, Kind},
};

/// A described service.
#[derive(Debug)]
pub(crate) struct Project {
    /// The description, absolute.
    pub(crate) file: PathBuf,
    /// The folder that the description's paths start from, absolute.
    pub(crate) root: PathBuf,
    /// What it says.
    pub(crate) config: Config,
    /// Where Cutover keeps its things; may not exist yet.
    pub(crate) state: PathBuf,
    /// The host's socket.
    pub(crate) socket: PathBuf,
}

impl Project {
    /// Reads the description.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let file = absolute(&global.file)?;
        let text = std::fs::read_to_string(&file).map_err(|error| unreadable(&file, &error))?;
        let config = Config::parse(&text).map_err(|error| wrong(&file, &text, &error))?;
        let root = file.parent().unwrap_or(Path::new("/")).to_owned();
        let state = state_dir(global, &root)?;
        let socket = socket(global, &state)?;
        Ok(Self { file, root, config, state, socket })
    }

    /// The settings of an environment, with paths that don't depend on where the command runs.
    pub(crate) fn settings(&self, name: &EnvironmentName) -> Result<Settings, Failure> {
        let mut settings = self.config.environment(name).ok_or_else(|| self.unknown(name))?;
        settings.place.environment.values_mut().for_each(|value| self.anchor(value));
        if let Some(migrations) = &mut settings.migrations {
            self.anchor(&mut migrations.database);
        }
        Ok(settings)
    }

    /// The given environment, or the only one there is.
    pub(crate) fn environment(&self, name: Option<&EnvironmentName>) -> Result<EnvironmentName, Failure> {
        match (name, self.config.environments.len()) {
            (Some(name), _) if self.config.environments.contains_key(name) => Ok(name.clone()),
            (Some(name), _) => Err(self.unknown(name)),
            (None, 1) => Ok(self.config.environments.keys().next().expect("there is one").clone()),
            (None, _) => Err(Failure::new(Kind::Usage, "which environment?").help(self.known())),
        }
    }

    /// Makes the state directory, private, and out of git's sight.
    pub(crate) fn make_state(&self) -> Result<(), Failure> {
        make_state(&self.state)
    }

    fn unknown(&self, name: &EnvironmentName) -> Failure {
        Failure::new(Kind::Usage, format!("{} describes no environment `{name}`", self.file.display()))
            .fact("nothing was changed")
            .help(self.known())
    }

    fn known(&self) -> String {
        let names: Vec<_> = self.config.environments.keys().map(EnvironmentName::as_str).collect();
        format!("name one of: {}", names.join(", "))
    }

    fn anchor(&self, value: &mut Value) {
        match value {
            Value::File(path) => *path = self.root.join(&*path),
            Value::Plain(text) => {
                if let Some(path) = text.strip_prefix("sqlite:").filter(|path| !path.starts_with(['/', ':']))
                {
                    *text = format!("sqlite:{}", self.root.join(path).display());
                }
            }
            Value::Env(_) => {}
        }
    }
}

/// Makes a state directory: only for its owner, and ignored by git, so that it never makes a tree dirty.
pub(crate) fn make_state(state: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let cannot = |error: std::io::Error| {
        Failure::new(Kind::Failed, format!("the state directory {} can't be made: {error}", state.display()))
            .fact("nothing was changed")
            .help("choose another with --state, or make it writable")
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(cannot)?;
    let ignore = state.join(".gitignore");
    if !ignore.exists() {
        std::fs::write(ignore, "*\n").map_err(cannot)?;
    }
    Ok(())
}

/// The state directory: as given, else `.cutover` in `root`.
pub(crate) fn state_dir(global: &Global, root: &Path) -> Result<PathBuf, Failure> {
    Ok(match &global.state {
        Some(state) => absolute(state)?,
        None => root.join(".cutover"),
    })
}

/// The host's socket: as given, else `host/host.sock` in the state directory.
pub(crate) fn socket(global: &Global, state: &Path) -> Result<PathBuf, Failure> {
    Ok(match &global.host {
        Some(socket) => absolute(socket)?,
        None => state.join("host/host.sock"),
    })
}

fn unreadable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Kind::Usage, format!("{} can't be read: {error}", file.display()))
        .fact("nothing was changed")
        .help("run the command in the folder of cutover.toml, or name the file with --file")
}

/// Every problem with its place. The text that is shown never has a secret in it.
fn wrong(file: &Path, text: &str, error: &ConfigError) -> Failure {
    let mut shown = text.to_owned();
    for problem in error.problems.iter().filter(|problem| problem.private) {
        let hidden = "*".repeat(problem.span.len());
        shown.replace_range(problem.span.clone(), &hidden);
    }
    let shown = if error.problems.iter().any(|problem| problem.private) {
        shown
    } else {
        // A text that could not be judged whole may have secrets anywhere. Masking moves what stands after on a line, so
        // the lines are masked one by one and padded to their length.
        same_length(text, &Redactor::default())
    };
    let labels = error.problems.iter().map(|problem| {
        LabeledSpan::at(problem.span.clone(), format!("{}. {}", problem.message, problem.help))
    });
    let summary = format!("{} can't be used", file.display());
    let report = miette!(labels = labels.collect::<Vec<_>>(), "{summary}")
        .with_source_code(NamedSource::new(file.display().to_string(), shown));
    let mut failure = Failure::new(Kind::Usage, format!("{summary}: {error}"))
        .fact("nothing was changed")
        .help("correct the file; `cutover schema` lists every key with its meaning");
    failure.report = Some(report);
    failure
}

fn same_length(text: &str, redactor: &Redactor) -> String {
    let lines = text.split_inclusive('\n').map(|line| {
        let masked = redactor.redact(line);
        if masked == line {
            masked
        } else {
            "*".repeat(line.trim_end_matches('\n').len()) + &line[line.trim_end_matches('\n').len()..]
        }
    });
    lines.collect()
}

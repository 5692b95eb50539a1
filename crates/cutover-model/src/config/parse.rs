//! Reads the text and says, with its place, everything that is wrong with it.

use std::{fmt, ops::Range};

use super::{Bad, Config, Environment, Value, secret::literal_secret};

/// One thing wrong with the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Byte range in the text; empty at the end where something is missing altogether.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
    /// The text at `span` is a secret: don't print it.
    pub private: bool,
}

/// The text can't be used; every problem that could be found at once is in it, at least one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// In the order of the text.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}: {}", problem.line, problem.column, problem.message)?;
        }
        Ok(())
    }
}

/// The JSON schema of `cutover.toml`, for editors, made from the types.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

impl Config {
    /// Reads and checks a `cutover.toml`.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found: the first one where the text or a type is wrong (nothing after it can be
    /// trusted), all of them where values don't make sense together.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| syntax(text, &error))?;
        let problems = Validation { text, problems: Vec::new() }.run(&config);
        if problems.is_empty() { Ok(config) } else { Err(ConfigError { problems }) }
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let span = error.span().unwrap_or(text.len()..text.len());
    let help = if error.message().starts_with("unknown field") {
        "remove the key or correct its spelling; `cutover schema` lists every key with its meaning"
    } else if error.message().starts_with("missing field") {
        "add the key; `cutover schema` lists every key with its meaning"
    } else {
        "correct the value; nothing was changed"
    };
    ConfigError { problems: vec![problem(text, span, error.message().to_owned(), help.to_owned())] }
}

fn problem(text: &str, span: Range<usize>, message: String, help: String) -> Problem {
    let before = &text[..text.floor_char_boundary(span.start.min(text.len()))];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    Problem { span, line, column, message, help, private: false }
}

struct Validation<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

impl Validation<'_> {
    fn run(mut self, config: &Config) -> Vec<Problem> {
        self.top(config);
        self.bad(&config.bad, &["bad"]);
        for (name, place) in &config.environments {
            self.environment(config, name.as_str(), place);
        }
        self.problems.sort_by_key(|problem| problem.span.start);
        self.problems
    }

    fn top(&mut self, config: &Config) {
        self.require(
            config.artifact.keep >= 2,
            &["artifact", "keep"],
            "fewer than two releases leave nothing to roll back to",
            "keep 2 or more",
        );
        if let Some(migrations) = &config.migrations {
            self.database(&migrations.database, &["migrations", "database"]);
        }
        for (key, span) in [
            ("interval", config.health.interval),
            ("timeout", config.health.timeout),
            ("start_within", config.health.start_within),
        ] {
            self.require(
                !span.is_zero(),
                &["health", key],
                "must be above zero",
                "write a time such as \"2s\"",
            );
        }
        let gate = &config.gate;
        self.require(
            gate.routes.len() <= 100,
            &["gate", "routes"],
            "more than 100 routes",
            "name the routes that matter; the rest is measured as `other`",
        );
        let absolute = gate.routes.iter().all(|route| route.starts_with('/'));
        self.require(
            absolute,
            &["gate", "routes"],
            "a route does not begin with `/`",
            "write routes such as \"/orders/{id}\"",
        );
        self.require(
            (1024..=1024 * 1024).contains(&gate.head_limit),
            &["gate", "head_limit"],
            "outside 1 KiB to 1 MiB",
            "write a number of bytes such as 65536",
        );
        self.require(
            !gate.answer_within.is_zero(),
            &["gate", "answer_within"],
            "must be above zero",
            "write a time such as \"60s\"",
        );
        self.require(
            !config.environments.is_empty(),
            &["environments"],
            "no environment is described",
            "add one, such as [environments.production]",
        );
    }

    fn bad(&mut self, bad: &Bad, at: &[&str]) {
        let path = |key| [at, &[key]].concat();
        self.require(
            bad.false_alarm > 0.0 && bad.false_alarm <= 0.2,
            &path("false_alarm"),
            "outside 0 to 0.2",
            "write the accepted chance of rolling back a good release, such as 0.001",
        );
        self.require(
            bad.enough_requests > 0,
            &path("enough_requests"),
            "must be 1 or more",
            "write a number of requests such as 1000",
        );
        self.require(
            bad.error_rate.get() < 1.0,
            &path("error_rate"),
            "a limit of 100% limits nothing",
            "write \"0%\" for no limit on errors",
        );
        let judges = bad.error_rate.get() > 0.0 || bad.slower_than.is_some() || bad.than_old;
        self.require(
            judges || bad.watch.is_zero(),
            at,
            "nothing counts as bad",
            "set error_rate, slower_than or than_old, or watch = \"0s\" to release without watching",
        );
    }

    fn environment(&mut self, config: &Config, name: &str, place: &Environment) {
        let at = ["environments", name];
        let path = |key| [&at[..], &[key]].concat();
        self.require(
            (1..=1000).contains(&place.replicas),
            &path("replicas"),
            "outside 1 to 1000",
            "write how many replicas serve",
        );
        self.require(
            place.canary.get() > 0.0,
            &path("canary"),
            "must be above 0%",
            "write a share such as \"10%\"",
        );
        self.require(
            !place.stop_within.is_zero(),
            &path("stop_within"),
            "must be above zero",
            "write a time such as \"10s\"",
        );
        if let Some(database) = &place.database {
            self.require(
                config.migrations.is_some(),
                &path("database"),
                "there is no [migrations] section",
                "describe the migrations or remove the key",
            );
            self.database(database, &path("database"));
        }
        if let Some(bad) = &place.bad {
            self.bad(bad, &path("bad"));
        }
        for (variable, value) in &place.environment {
            self.variable(variable, value, &[&at[..], &["environment", variable]].concat());
        }
    }

    fn variable(&mut self, name: &str, value: &Value, at: &[&str]) {
        let ours = ["PORT", "CUTOVER_RELEASE", "CUTOVER_REPLICA"].contains(&name);
        self.require(!ours, at, "Cutover sets this variable itself", "remove it");
        let shaped = !name.is_empty() && !name.contains(['=', '\0']);
        self.require(shaped, at, "not the name of an environment variable", "use letters, digits and `_`");
        if let Value::Plain(text) = value
            && let Some(what) = literal_secret(name, text)
        {
            self.secret(what, at);
        }
    }

    fn database(&mut self, database: &Value, at: &[&str]) {
        if let Value::Plain(text) = database
            && !text.starts_with("sqlite:")
        {
            self.secret("a database's address", at);
        }
    }

    fn secret(&mut self, what: &str, at: &[&str]) {
        self.require(
            false,
            at,
            &format!("{what} can't stand in the file, where everyone with the repository reads it"),
            "refer to it: \"env:NAME\" for an environment variable, \"file:path\" for a file",
        );
        if let Some(problem) = self.problems.last_mut() {
            problem.private = true;
        }
    }

    fn require(&mut self, holds: bool, at: &[&str], message: &str, help: &str) {
        if !holds {
            let span = locate(self.text, at).unwrap_or(self.text.len()..self.text.len());
            let message = format!("`{}`: {message}", at.join("."));
            self.problems.push(problem(self.text, span, message, help.to_owned()));
        }
    }
}

/// Where the value of a path of keys stands, else its nearest parent that is there.
fn locate(text: &str, path: &[&str]) -> Option<Range<usize>> {
    let root = toml::de::DeTable::parse(text).ok()?;
    let mut table = root.get_ref();
    let mut found = None;
    for key in path {
        let Some(value) = table.get(*key) else { break };
        found = Some(value.span());
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const SHOP: &str = r#"
[service]
name = "shop"

[checks]
unit = "cargo test"

[artifact]
build = "cargo build --release"
run = "target/release/shop"

[migrations]
dir = "migrations"
database = "env:MIGRATION_DATABASE_URL"

[health]
live = "/health/live"
ready = "/health/ready"

[bad]
error_rate = "1%"
slower_than = "250ms for 1%"

[environments.production]
target = "host"
listen = "127.0.0.1:8080"
replicas = 4
approval = "another-person"
environment = { DATABASE_URL = "env:APP_DATABASE_URL", RUST_LOG = "info" }
"#;

    fn problems(from: &str, to: &str) -> Vec<String> {
        assert!(SHOP.contains(from), "{from}");
        let error = Config::parse(&SHOP.replacen(from, to, 1)).unwrap_err();
        error
            .problems
            .iter()
            .map(|p| format!("{}:{}: {} | {}", p.line, p.column, p.message, p.help))
            .collect()
    }

    #[test]
    fn the_example_reads_and_survives_json() {
        let config = Config::parse(SHOP).unwrap();
        let settings = config.environment(&"production".parse().unwrap()).unwrap();
        assert_eq!(settings.place.replicas, 4);
        assert_eq!(settings.bad.false_alarm, 0.001);
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<super::super::Settings>(&json).unwrap(), settings);
        assert!(config.environment(&"staging".parse().unwrap()).is_none());
    }

    #[test]
    fn problems_name_place_cause_and_remedy() {
        insta::assert_snapshot!(
            [
                problems("name = \"shop\"", "name = \"Shop!\""),
                problems("[checks]", "[cheks]"),
                problems("run = ", "rum = "),
                problems("replicas = 4", "replicas = 0"),
                problems("\"250ms for 1%\"", "\"250\""),
                problems("env:MIGRATION_DATABASE_URL", "postgres://shop:hunter2@db/shop"),
                problems("env:APP_DATABASE_URL", "postgres://shop:hunter2@db/shop"),
                problems("another-person", "nobody"),
                problems("[health]", "[health"),
                problems("error_rate = \"1%\"", "error_rate = \"0%\"\nthan_old = false\nfalse_alarm = 7"),
            ]
            .concat()
            .join("\n")
        );
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        for line in problems("env:APP_DATABASE_URL", "postgres://shop:hunter2@db/shop") {
            assert!(!line.contains("hunter2"), "{line}");
        }
    }

    #[test]
    fn the_schema_names_every_section() {
        let schema = serde_json::to_value(schema()).unwrap();
        for section in
            ["service", "checks", "artifact", "migrations", "health", "bad", "gate", "smoke", "environments"]
        {
            assert!(schema["properties"][section].is_object(), "{section}");
        }
    }
}

//! Pages under `docs/reference/` that are generated, so that they can't say something else than the code.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use clap::Args;

use crate::{failure::Failure, process};

type Generate = fn() -> Result<String, Failure>;

/// Every generated page: its path from the root, and what makes it.
const PAGES: &[(&str, Generate)] = &[
    ("docs/reference/cutover.schema.json", configuration_schema),
    ("docs/reference/command-line.md", command_line),
    ("docs/reference/lint/releases.md", || lint("releases")),
    ("docs/reference/lint/secrets.md", || lint("secrets")),
    ("docs/reference/lint/data.md", || lint("data")),
    ("docs/reference/lint/postgres.md", || lint("postgres")),
    ("docs/reference/lint/squawk.md", || lint("squawk")),
    ("docs/reference/lint/mysql.md", || lint("mysql")),
    ("docs/reference/lint/sqlite.md", || lint("sqlite")),
    ("docs/reference/lint/allowing.md", || lint("allowing")),
];

#[derive(Args)]
pub(crate) struct Options {
    /// Write nothing; fail where a page differs from the code.
    #[arg(long)]
    check: bool,
}

/// Writes the pages that differ from the code, or with `--check` names them.
///
/// # Errors
/// A page can't be made or written; or with `--check`, one differs or is missing.
pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut drifted = Vec::new();
    for (page, generate) in PAGES {
        let path = crate::root().join(page);
        let fresh = generate()?;
        if fs::read_to_string(&path).is_ok_and(|current| current == fresh) {
            continue;
        }
        drifted.push(*page);
        if !options.check {
            fs::write(&path, fresh).map_err(|source| Failure::File { path, source })?;
            println!("wrote {page}");
        }
    }
    if options.check && !drifted.is_empty() {
        return Err(Failure::Drifted(drifted.join(", ")));
    }
    println!("reference: {} pages agree with the code", PAGES.len());
    Ok(())
}

/// The JSON schema of `cutover.toml`, for editors.
fn configuration_schema() -> Result<String, Failure> {
    Ok(format!("{:#}\n", cutover_model::config::schema().as_value()))
}

/// The help of every command, as the binary prints it.
fn command_line() -> Result<String, Failure> {
    let binary = binary()?;
    let mut page = String::from(
        "# The command line\n\nWhat `--help` says, written by `cargo xtask reference`. Change the code, not this page.\n",
    );
    let mut waiting = vec![vec![]];
    while let Some(command) = waiting.pop() {
        let help = help(binary, &command)?;
        page.push_str(&format!(
            "\n## {}\n\n```text\n{help}\n```\n",
            [&["cutover".into()], &command[..]].concat().join(" ")
        ));
        let below = commands(&help).into_iter().rev().map(|name| [&command[..], &[name]].concat());
        waiting.extend(below);
    }
    Ok(page)
}

/// The command, built once from what is here.
fn binary() -> Result<&'static Path, Failure> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(built) = BUILT.get() {
        return Ok(built);
    }
    process::run(process::cargo().args(["build", "--quiet", "--package", "cutover-cli"]))?;
    // Cargo puts both binaries into the same folder.
    let own = env::current_exe().map_err(|source| Failure::File { path: "xtask".into(), source })?;
    Ok(BUILT.get_or_init(|| own.with_file_name("cutover")))
}

/// The page of a family of lint rules.
fn lint(family: &str) -> Result<String, Failure> {
    let mut command = Command::new(binary()?);
    command.args(["migrate", "lint", "--explain", family]).stdin(Stdio::null());
    process::output(&mut command)
}

/// What a command's `--help` says where nothing of the caller's terminal and environment shows.
fn help(binary: &Path, command: &[String]) -> Result<String, Failure> {
    let start = |source| Failure::Start { program: binary.display().to_string(), source };
    let mut asked = Command::new(binary);
    asked.args(command).arg("--help").env_clear().stdin(Stdio::null()).stderr(Stdio::null());
    let done = asked.output().map_err(start)?;
    if !done.status.success() {
        return Err(Failure::Ended { command: format!("{} --help", command.join(" ")), status: done.status });
    }
    let text = String::from_utf8_lossy(&done.stdout);
    Ok(text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim_end().to_owned())
}

/// The names under `Commands:` of a help text, without `help` itself.
fn commands(help: &str) -> Vec<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use cutover_model::config::Config;

    use super::*;

    #[test]
    fn commands_are_read_from_the_help() {
        let help = "Ships.\n\nUsage: x\n\nCommands:\n  demo     Show\n           more\n  release  Release\n  help     Print\n\nOptions:\n  -h\n";
        assert_eq!(commands(help), ["demo", "release"]);
        assert_eq!(commands("Options:\n  -h"), [""; 0]);
    }

    /// What the pages show works when it is copied.
    #[test]
    fn every_cutover_toml_that_is_shown_parses() {
        let pages = ["README.md", "docs/guide/first-release.md"];
        for page in pages {
            let text = fs::read_to_string(crate::root().join(page)).unwrap();
            let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
            let whole: Vec<&str> = blocks.filter(|block| block.contains("[service]")).collect();
            assert!(!whole.is_empty(), "{page} shows no cutover.toml");
            for example in whole {
                if let Err(error) = Config::parse(example) {
                    panic!("{page} shows a cutover.toml that does not parse:\n{error}\n\n{example}");
                }
            }
        }
    }
}

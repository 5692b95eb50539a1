//! `cutover migrate lint`: what pending migrations would do to the service that is running. Changes nothing.

mod chosen;
mod forms;

use std::collections::BTreeSet;

use cutover_migrate::{
    Database, Dialect, MigrateError, Place, Source,
    lint::{self, Report, Severity, Sizes},
};
use cutover_model::{
    config::{Migrations, Span, Value},
    migration::{MigrationId, MigrationState},
};

use super::migrate::{database_url, source};
use crate::{
    args::{Global, LintForm, MigrateLint},
    failure::{Failure, Kind},
    project::Project,
    say,
};

pub(super) async fn run(global: &Global, args: &MigrateLint) -> Result<(), Failure> {
    if let Some(name) = &args.explain {
        return explain(name);
    }
    let described = described(global, args)?;
    let seen = match &args.database {
        Some(reference) => look(&described.source, reference).await?,
        None => {
            Seen { dialect: dialect(args, &described)?, sizes: Sizes::default(), applied: BTreeSet::new() }
        }
    };
    let changed =
        args.since.as_deref().map(|since| chosen::changed(described.source.dir(), since)).transpose()?;
    let mut report = lint::lint(&described.source, seen.dialect, &seen.sizes, |id, file| {
        (args.all || !seen.applied.contains(id))
            && changed.as_ref().is_none_or(|changed| changed.contains(described.source.dir(), file))
    });
    let shown = chosen::Shown::of(described.source.dir());
    for finding in &mut report.findings {
        finding.file = shown.path(&finding.file);
    }
    tell(global, args, &report);
    verdict(global, &report)
}

fn explain(name: &str) -> Result<(), Failure> {
    let page = lint::explain(name).ok_or_else(|| {
        Failure::new(Kind::Usage, format!("there is no rule and no family `{}`", name.escape_debug()))
            .help(format!("name a rule, or one of the families {}", lint::families().join(", ")))
    })?;
    say::line(&page);
    Ok(())
}

/// The folder, and the database it is described for.
struct Described {
    source: Source,
    migrations: Option<Migrations>,
}

fn described(global: &Global, args: &MigrateLint) -> Result<Described, Failure> {
    if let Some(dir) = &args.dir {
        let source = Source::open(std::path::absolute(dir)?, None).map_err(MigrateError::from)?;
        return Ok(Described { source, migrations: None });
    }
    let project = Project::load(global)?;
    let environment = project.environment(args.environment.as_ref())?;
    let migrations = project.settings(&environment)?.migrations.ok_or_else(|| {
        Failure::new(Kind::Usage, "no migrations are described")
            .help("add a [migrations] section, or give --dir")
    })?;
    let source = source(&project.root, &migrations).map_err(MigrateError::from)?;
    Ok(Described { source, migrations: Some(migrations) })
}

/// Which database's rules: what was said, what the folder says, what the described URL begins with.
fn dialect(args: &MigrateLint, described: &Described) -> Result<Dialect, Failure> {
    if let Some(said) = args.dialect.map(Dialect::from).or_else(|| described.source.dialect()) {
        return Ok(said);
    }
    let url = described.migrations.as_ref().and_then(|migrations| database_url(migrations).ok());
    url.and_then(|url| Place::of(&url).ok()).map(|place| place.dialect()).ok_or_else(|| {
        Failure::new(Kind::Usage, "which database's rules? The folder does not say")
            .help("give --dialect postgres, mysql or sqlite, or a --database to look at")
    })
}

/// What a database says: how large its tables are, and what it has.
struct Seen {
    dialect: Dialect,
    sizes: Sizes,
    applied: BTreeSet<MigrationId>,
}

async fn look(source: &Source, reference: &Value) -> Result<Seen, Failure> {
    let migrations = Migrations {
        dir: source.dir().to_owned(),
        format: None,
        database: reference.clone(),
        lock_wait: Span::from_secs(300),
    };
    let url = database_url(&migrations).map_err(|why| {
        Failure::new(Kind::Usage, why).help("set it, or leave --database out: then every migration is read")
    })?;
    let mut database = Database::connect(&url).await?;
    let status = cutover_migrate::status(source, &mut database).await;
    let sizes = lint::sizes(&mut database).await;
    let dialect = database.dialect();
    database.close().await;
    let there = |state| matches!(state, MigrationState::Applied | MigrationState::Changed);
    let applied = status?.migrations.into_iter().filter(|migration| there(migration.state));
    Ok(Seen { dialect, sizes: sizes?, applied: applied.map(|migration| migration.id).collect() })
}

fn tell(global: &Global, args: &MigrateLint, report: &Report) {
    if global.json.is_some() {
        return say::result(global.json, &forms::document(report), String::new);
    }
    match args.format {
        LintForm::People => say::line(&forms::people(report)),
        LintForm::Github => say::line(&forms::github(report)),
        LintForm::Sarif => say::result(Some(crate::args::Json::Document), &forms::sarif(report), String::new),
    }
}

fn forbidding(findings: usize) -> String {
    match findings {
        1 => "1 finding forbids applying these migrations".into(),
        more => format!("{more} findings forbid applying these migrations"),
    }
}

fn verdict(global: &Global, report: &Report) -> Result<(), Failure> {
    if !report.blocks() {
        return Ok(());
    }
    let blocking = report.findings.iter().filter(|finding| finding.severity == Severity::Blocks).count();
    let failure = Failure::new(Kind::Refused, forbidding(blocking))
        .fact("nothing was changed")
        .help("do what each says, or allow it in the file: `-- cutover: allow rule-name: reason`");
    Err(if global.json.is_some() { failure.documented() } else { failure })
}

//! `cutover migrate`: the schema by hand, and as the conductor's port.

use std::{collections::BTreeSet, fs::File, path::Path, time::Duration};

use async_trait::async_trait;
use cutover_conductor::ports::{Migrations as Port, PortError};
use cutover_migrate::{
    Database, ErrorKind, Format, LockState, MigrateError, Notice, Observer, Options, Silent, Source,
    SourceError, Status, Upto,
};
use cutover_model::{
    config::{MigrationFormat, Migrations, Settings, Value},
    migration::{MigrationId, MigrationState, Phase, PhaseReading},
    run::{Identity, Note, Plan},
};

use secrecy::SecretString;

use crate::{
    args::{Global, Migrate, MigrateAt, MigrateUp},
    failure::{Failure, Kind},
    project::Project,
    say,
};

mod ledger;

/// What to look at after anything went wrong with a migration.
const LOOK: &str = "`cutover migrate status` shows where the database stands";

/// The conductor's port: the folder in the release's tree, the database by reference.
#[derive(Debug)]
pub(super) struct FolderMigrations {
    me: Identity,
}

impl FolderMigrations {
    pub(super) fn new(me: Identity) -> Self {
        Self { me }
    }
}

#[async_trait]
impl Port for FolderMigrations {
    async fn expand(
        &self,
        plan: &Plan,
        tree: &Path,
        live: &BTreeSet<MigrationId>,
    ) -> Result<Note, PortError> {
        let Some(migrations) = &plan.settings.migrations else { return Ok(Note::None) };
        let broken = |message| PortError::Broken { message, help: LOOK.into() };
        let source = source(tree, migrations).map_err(port)?;
        let url = database_url(migrations).map_err(broken)?;
        let mut database = Database::connect(&url).await.map_err(port)?;
        let mut options = Options::new(format!("{} for {} {}", self.me, plan.settings.service, plan.release));
        options.release = Some(plan.release.to_string());
        options.lock_wait = migrations.lock_wait.get();
        options.carried = live.clone();
        let applied = cutover_migrate::up(&source, &mut database, Upto::Expand, &options, &mut Silent).await;
        database.close().await;
        let applied = applied.map_err(port)?;
        let pending = |state| matches!(state, MigrationState::Pending | MigrationState::Held);
        let held = applied.status.migrations.iter().filter(|migration| pending(migration.state));
        Ok(Note::Migrated {
            applied: applied.migrations,
            held: held.map(|migration| migration.id.clone()).collect(),
            folder: source.ids(),
        })
    }
}

fn port(error: impl Into<MigrateError>) -> PortError {
    let error = error.into();
    let (message, help) = (error.to_string(), LOOK.to_owned());
    match error.kind() {
        ErrorKind::Refused => PortError::Refused { message, help },
        // Not "unreachable" to the driver: whether a migration is worth waiting for is a person's decision.
        ErrorKind::Failed | ErrorKind::Unreachable => PortError::Broken { message, help },
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        let kind = match error.kind() {
            ErrorKind::Refused => Kind::Refused,
            ErrorKind::Failed | ErrorKind::Unreachable => Kind::Failed,
        };
        Self::new(kind, error.to_string()).help(LOOK)
    }
}

pub(super) fn source(root: &Path, migrations: &Migrations) -> Result<Source, SourceError> {
    let format = migrations.format.map(|format| match format {
        MigrationFormat::Cutover => Format::Own,
        MigrationFormat::Sqlx => Format::Sqlx,
        MigrationFormat::Drizzle => Format::Drizzle,
        MigrationFormat::DrizzleFolders => Format::DrizzleFolders,
        MigrationFormat::Refinery => Format::Refinery,
        MigrationFormat::GolangMigrate => Format::GolangMigrate,
        MigrationFormat::Dbmate => Format::Dbmate,
        MigrationFormat::Diesel => Format::Diesel,
    });
    Source::open(root.join(&migrations.dir), format)
}

/// The database's URL, or why there is none: a sentence without it.
pub(super) fn database_url(migrations: &Migrations) -> Result<SecretString, String> {
    let found =
        migrations.database.resolve(Path::new("."), |name| std::env::var(name), |path| File::open(path));
    found.map_err(|why| format!("the migrations' database refers to {why}"))
}

/// Folder and database, opened.
struct Opened {
    source: Source,
    database: Database,
    lock_wait: Duration,
}

async fn open(root: &Path, migrations: &Migrations) -> Result<Opened, Failure> {
    open_source(source(root, migrations), migrations).await
}

async fn open_source(
    source: Result<Source, SourceError>,
    migrations: &Migrations,
) -> Result<Opened, Failure> {
    let source = source.map_err(MigrateError::from)?;
    let url = database_url(migrations).map_err(|why| {
        Failure::new(Kind::Usage, why)
            .fact("nothing was changed")
            .help("set it, then run the same command again")
    })?;
    Ok(Opened { source, database: Database::connect(&url).await?, lock_wait: migrations.lock_wait.get() })
}

async fn open_at(global: &Global, at: &MigrateAt) -> Result<Opened, Failure> {
    let here = std::path::absolute(".")?;
    if let (Some(dir), Some(database)) = (&at.dir, &at.database) {
        let lock_wait = cutover_model::config::Span::from_secs(300);
        let migrations = Migrations { dir: dir.clone(), format: None, database: database.clone(), lock_wait };
        let source = Source::open(here.join(dir), at.folder_format);
        return open_source(source, &migrations).await;
    }
    let project = Project::load(global)?;
    let environment = project.environment(at.environment.as_ref())?;
    let mut migrations = project.settings(&environment)?.migrations.ok_or_else(|| {
        Failure::new(Kind::Usage, "no migrations are described")
            .help("add a [migrations] section, or give --dir and --database")
    })?;
    if let Some(database) = &at.database {
        migrations.database = database.clone();
    }
    open(&project.root, &migrations).await
}

pub(super) async fn run(global: &Global, command: &Migrate) -> Result<(), Failure> {
    match command {
        Migrate::Status(at) => status(global, at).await,
        Migrate::Plan(at) => plan(global, at).await,
        Migrate::Up(up) => self::up(global, up).await,
        Migrate::Lint(lint) => super::lint::run(global, lint).await,
        Migrate::Verify(at) => ledger::verify(global, at).await,
        Migrate::Adopt(adopt) => ledger::adopt(global, adopt).await,
    }
}

async fn status(global: &Global, at: &MigrateAt) -> Result<(), Failure> {
    let mut opened = open_at(global, at).await?;
    let status = cutover_migrate::status(&opened.source, &mut opened.database).await;
    opened.database.close().await;
    let status = status?;
    say::result(global.json, &document(&status), || listed(&status));
    Ok(())
}

fn document(status: &Status) -> serde_json::Value {
    serde_json::json!({
        "format": status.format,
        "ledger": status.ledger,
        "head": status.head,
        "refused": status.refused.as_ref().map(ToString::to_string),
        "migrations": status.migrations.iter().map(|migration| serde_json::json!({
            "id": migration.id,
            "phase": migration.phase.as_ref().and_then(PhaseReading::clear),
            "state": migration.state,
            "notes": migration.notes,
        })).collect::<Vec<_>>(),
    })
}

fn listed(status: &Status) -> String {
    let mut rows = vec![["state", "phase", "migration", ""].map(str::to_owned).to_vec()];
    rows.extend(status.migrations.iter().map(|migration| {
        let phase = migration.phase.as_ref().and_then(PhaseReading::clear);
        vec![
            migration.state.to_string(),
            phase.map(|phase| phase.to_string()).unwrap_or_default(),
            migration.id.as_str().to_owned(),
            migration.notes.join("; "),
        ]
    }));
    let refused =
        status.refused.as_ref().map(|why| format!("\n`up` would refuse: {why}")).unwrap_or_default();
    format!("{}{refused}", say::table(&rows))
}

async fn plan(global: &Global, at: &MigrateAt) -> Result<(), Failure> {
    let mut opened = open_at(global, at).await?;
    let plan =
        cutover_migrate::plan(&opened.source, &mut opened.database, Upto::Expand, &BTreeSet::new()).await;
    opened.database.close().await;
    let plan = plan?;
    let document = serde_json::json!({ "run": plan.run, "held": plan.held, "late": plan.late });
    say::result(global.json, &document, || {
        let list =
            |ids: &[MigrationId]| ids.iter().map(|id| format!("\n  {}", id.as_str())).collect::<String>();
        match (plan.run.is_empty(), plan.held.is_empty()) {
            (true, true) => "nothing is pending".into(),
            (true, false) => format!("nothing to apply now; these wait:{}", list(&plan.held)),
            (false, true) => format!("`up` would apply, in this order:{}", list(&plan.run)),
            (false, false) => {
                format!(
                    "`up` would apply, in this order:{}\nand these wait:{}",
                    list(&plan.run),
                    list(&plan.held)
                )
            }
        }
    });
    Ok(())
}

async fn up(global: &Global, args: &MigrateUp) -> Result<(), Failure> {
    let mut opened = open_at(global, &args.at).await?;
    let mut options = Options::new(cutover_conductor::artifact::identity(Path::new(".")).to_string());
    options.lock_wait = opened.lock_wait;
    if let Some(answer) = args.interrupted {
        options.on_interrupted = answer;
    }
    let upto = if args.all { Upto::All } else { Upto::Expand };
    let mut teller = Teller { silent: global.json.is_some(), waiting: false };
    let applied =
        cutover_migrate::up(&opened.source, &mut opened.database, upto, &options, &mut teller).await;
    opened.database.close().await;
    let applied = applied?;
    let document = serde_json::json!({
        "applied": applied.migrations, "waited_for": applied.waited_for, "status": document(&applied.status),
    });
    say::result(global.json, &document, || match (applied.migrations.len(), &applied.waited_for) {
        (0, Some(other)) => format!("nothing left to do after {other}"),
        (0, None) => "nothing to do".into(),
        (number, _) => format!("{number} applied"),
    });
    Ok(())
}

/// Tells a person what happens, on standard error.
struct Teller {
    silent: bool,
    waiting: bool,
}

impl Observer for Teller {
    fn notice(&mut self, notice: Notice<'_>) {
        if self.silent {
            return;
        }
        match notice {
            Notice::Waiting { holder, held } if !self.waiting => {
                self.waiting = true;
                say::note(&format!("waiting for {holder}, who has been migrating for {} s", held.as_secs()));
            }
            Notice::Unknown { names } => {
                say::note(&format!(
                    "the database is newer than this folder: it also has {}",
                    names.join(", ")
                ));
            }
            Notice::Late { id } => say::note(&format!("{} is older than one that is applied", id.as_str())),
            Notice::Retrying { id, pause } => {
                say::note(&format!("{}: a lock was not free; again in {pause:?}", id.as_str()));
            }
            Notice::Applied { id, took } => {
                say::note(&format!("✓ {} ({} ms)", id.as_str(), took.as_millis()));
            }
            // The rest is more than a person at a terminal wants.
            _ => {}
        }
    }
}

/// The contract migrations that the database has, for the floor.
pub(super) async fn contracted(root: &Path, migrations: &Migrations) -> Result<Vec<MigrationId>, Failure> {
    let mut opened = open(root, migrations).await?;
    let status = cutover_migrate::status(&opened.source, &mut opened.database).await;
    opened.database.close().await;
    let contract = |reading: &PhaseReading| reading.clear() == Some(Phase::Contract);
    let there =
        |state| matches!(state, MigrationState::Applied | MigrationState::Changed | MigrationState::Unknown);
    let applied = status?
        .migrations
        .into_iter()
        .filter(|migration| there(migration.state) && migration.phase.as_ref().is_some_and(contract));
    Ok(applied.map(|migration| migration.id).collect())
}

/// For `cutover doctor`: reachable, nobody migrating, and what is pending; else what is wrong and what to do.
pub(super) async fn doctor(root: &Path, settings: &Settings) -> Result<String, (String, String)> {
    let Some(migrations) = &settings.migrations else { return Ok("none is described".into()) };
    let help = || "correct [migrations], or bring the database back".to_owned();
    if let Value::Env(name) = &migrations.database
        && std::env::var_os(name).is_none()
    {
        return Err((
            format!("the environment variable {name} is not set"),
            format!("set {name}, then run it again"),
        ));
    }
    let told = |failure: Failure| (failure.message, failure.help.unwrap_or_else(help));
    let mut opened = open(root, migrations).await.map_err(told)?;
    let lock = cutover_migrate::check_lock(&mut opened.database).await;
    let status = cutover_migrate::status(&opened.source, &mut opened.database).await;
    let place = opened.database.place().to_string();
    opened.database.close().await;
    let wrong = |error: MigrateError| (error.to_string(), help());
    if let LockState::Held { holder, held } = lock.map_err(wrong)? {
        let found = format!("{holder} has been migrating {place} for {} s", held.as_secs());
        return Err((found, "wait for it; the lock goes with its owner".into()));
    }
    let status = status.map_err(wrong)?;
    if let Some(refused) = status.refused {
        return Err((refused.to_string(), LOOK.into()));
    }
    let pending =
        status.migrations.iter().filter(|migration| migration.state == MigrationState::Pending).count();
    let (format, ledger) = (status.format.as_str(), status.ledger);
    Ok(format!(
        "{place}: reachable, nobody is migrating, {pending} pending; read as {format}, recorded in {ledger}"
    ))
}

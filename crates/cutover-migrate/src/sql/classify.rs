//! Which phase a migration has, read from its SQL.
//!
//! Careful in one direction: what is not known to leave old code working is `contract`, and what can't be read
//! (dynamic SQL, calls) is said to be unclear and wants a header. A table made in the same migration is known to no
//! old code, so whatever is done to it is `expand`; SQLite's way of changing a table (make a new one, copy, drop the old,
//! rename) is one `contract`.

use std::collections::{BTreeSet, HashSet};

use cutover_model::migration::{DecidedBy, InvalidPhase, Phase, PhaseEvidence, PhaseReading};

use super::{
    lexer::Syntax,
    split::{Statement, split},
    words::{Word, Words, words},
};

/// What one statement does to code that is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    Neutral,
    Is(Phase),
    Unclear,
    /// Not safe on a table with rows; the text names the safe way.
    Unsafe(&'static str),
}

const EXPAND: Effect = Effect::Is(Phase::Expand);
const BACKFILL: Effect = Effect::Is(Phase::Backfill);
const CONTRACT: Effect = Effect::Is(Phase::Contract);

const NOT_NULL_ADVICE: &str = "add it without NOT NULL (or with a DEFAULT), release, backfill it, and set NOT NULL in a later contract migration";

/// The phase of a migration's statements taken together.
pub(crate) fn classify(statements: &[Statement], syntax: Syntax) -> PhaseReading {
    let mut seen = Seen::of(statements, syntax);
    let mut found: Vec<PhaseEvidence> = Vec::new();
    for statement in statements {
        let evidence =
            |phase| PhaseEvidence { phase, line: statement.line, summary: statement.summary(syntax) };
        match seen.effect(&statement.sql, syntax) {
            Effect::Neutral => {}
            Effect::Is(phase) if found.iter().any(|e| e.phase == phase) => {}
            Effect::Is(phase) => found.push(evidence(phase)),
            Effect::Unclear => {
                return PhaseReading::Unclear { line: statement.line, summary: statement.summary(syntax) };
            }
            Effect::Unsafe(instead) => {
                let summary = statement.summary(syntax);
                return PhaseReading::Unsafe { line: statement.line, summary, instead: instead.into() };
            }
        }
    }
    let by = DecidedBy::Classification;
    match found.as_slice() {
        [] => PhaseReading::Clear { phase: Phase::Expand, by },
        [one] => PhaseReading::Clear { phase: one.phase, by },
        _ => PhaseReading::Mixed { found },
    }
}

/// The phase that a header line in the leading comments says: `-- phase: contract`.
///
/// # Errors
/// A `phase:` header with another word, with its line.
pub(crate) fn header_phase(sql: &str) -> Result<Option<Phase>, (u32, InvalidPhase)> {
    let header = leading_comments(sql).find_map(|(line, comment)| {
        let (key, word) = comment.split_once(':')?;
        (key.trim() == "phase").then(|| (line, word.trim()))
    });
    let Some((line, word)) = header else { return Ok(None) };
    word.parse().map(Some).map_err(|error| (line, error))
}

/// Whether a `-- no-transaction` header says that the migration can't run in a transaction.
pub(crate) fn says_no_transaction(sql: &str) -> bool {
    leading_comments(sql).any(|(_, comment)| comment == "no-transaction")
}

/// The `--` comments before the first statement, with their lines, without the dashes and trimmed.
fn leading_comments(sql: &str) -> impl Iterator<Item = (u32, &str)> {
    let text = sql.strip_prefix('\u{feff}').unwrap_or(sql);
    let head = text
        .lines()
        .map(str::trim)
        .zip(1..)
        .take_while(|(line, _)| line.is_empty() || line.starts_with("--"));
    head.filter_map(|(line, number)| Some((number, line.strip_prefix("--")?.trim())))
}

/// What the migration itself has made so far.
#[derive(Default)]
struct Seen {
    created: HashSet<String>,
    /// `table.column`
    added: HashSet<String>,
    /// Both names of a table that is made anew, filled and put in the place of the old one.
    rebuilt: HashSet<String>,
}

impl Seen {
    fn of(statements: &[Statement], syntax: Syntax) -> Self {
        let (mut created, mut dropped, mut renamed) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        for statement in statements {
            let all = words(&statement.sql, syntax);
            let mut rest = Words(&all);
            if rest.eat(&["CREATE", "TABLE"]) {
                rest.eat(&["IF", "NOT", "EXISTS"]);
                created.extend(rest.name());
            } else if rest.eat(&["DROP", "TABLE"]) {
                rest.eat(&["IF", "EXISTS"]);
                dropped.extend(rest.name());
            } else if rest.eat(&["ALTER", "TABLE"]) {
                let from = rest.name();
                if rest.eat(&["RENAME", "TO"]) {
                    renamed.extend(from.zip(rest.name()));
                }
            }
        }
        renamed.retain(|(new, old)| created.contains(new) && dropped.contains(old));
        Self { rebuilt: renamed.into_iter().flat_map(|(new, old)| [new, old]).collect(), ..Self::default() }
    }

    /// The effect on code of something done to a table, given what it would be on one that was there before.
    fn on(&self, table: Option<&String>, otherwise: Effect) -> Effect {
        match table {
            Some(table) if self.rebuilt.contains(table) => CONTRACT,
            Some(table) if self.created.contains(table) => EXPAND,
            _ => otherwise,
        }
    }

    fn effect(&mut self, sql: &str, syntax: Syntax) -> Effect {
        let all = words(sql, syntax);
        let mut rest = Words(&all);
        let Some(first) = rest.first() else { return Effect::Neutral };
        rest.0 = &rest.0[1..];
        match first {
            "CREATE" => self.create(rest),
            "ALTER" => self.alter(rest),
            "DROP" => self.drop(rest),
            "INSERT" => self.insert(rest),
            "UPDATE" => {
                rest.eat_any(&["ONLY", "LOW_PRIORITY", "IGNORE"]);
                self.on(rest.name().as_ref(), BACKFILL)
            }
            "DELETE" => {
                rest.eat_any(&["LOW_PRIORITY", "QUICK", "IGNORE", "FROM", "ONLY"]);
                self.on(rest.name().as_ref(), CONTRACT)
            }
            "TRUNCATE" => {
                rest.eat_any(&["TABLE", "ONLY"]);
                self.on(rest.name().as_ref(), CONTRACT)
            }
            "MERGE" | "REPLACE" => BACKFILL,
            "COPY" if !rest.any(&["STDIN"]) => BACKFILL,
            "WITH" if rest.any(&["DELETE"]) => CONTRACT,
            "WITH" if rest.any(&["INSERT", "UPDATE", "MERGE"]) => BACKFILL,
            "REVOKE" | "RENAME" => CONTRACT,
            "DO" => self.anonymous_block(&all, syntax),
            _ if NEUTRAL.contains(&first) => Effect::Neutral,
            _ => Effect::Unclear,
        }
    }

    fn create(&mut self, mut rest: Words<'_>) -> Effect {
        let replace = rest.eat(&["OR", "REPLACE"]);
        rest.eat_any(&["TEMP", "TEMPORARY", "UNLOGGED", "GLOBAL", "LOCAL", "VIRTUAL", "FOREIGN"]);
        if rest.eat(&["TABLE"]) {
            rest.eat(&["IF", "NOT", "EXISTS"]);
            let table = rest.name();
            let effect = if replace { CONTRACT } else { self.on(table.as_ref(), EXPAND) };
            self.created.extend(table);
            return effect;
        }
        let unique = rest.eat(&["UNIQUE"]);
        if rest.any(&["INDEX"]) && (unique || rest.first() == Some("INDEX")) {
            let on = rest.0.iter().position(|w| *w == Word::Plain("ON".into()));
            let mut rest = Words(on.map_or(&[], |at| &rest.0[at + 1..]));
            rest.eat(&["ONLY"]);
            let table = rest.name();
            // A unique index can refuse what old code writes, unless old code knows neither table nor columns.
            let tightens = unique && !self.all_added(table.as_ref(), &rest.listed_names());
            return self.on(table.as_ref(), if tightens { CONTRACT } else { EXPAND });
        }
        EXPAND
    }

    fn all_added(&self, table: Option<&String>, columns: &[String]) -> bool {
        let Some(table) = table else { return false };
        !columns.is_empty() && columns.iter().all(|column| self.added.contains(&format!("{table}.{column}")))
    }

    fn drop(&mut self, mut rest: Words<'_>) -> Effect {
        rest.eat_any(&["TEMPORARY"]);
        if !rest.eat(&["TABLE"]) {
            return CONTRACT;
        }
        rest.eat(&["IF", "EXISTS"]);
        self.on(rest.name().as_ref(), CONTRACT)
    }

    fn insert(&mut self, mut rest: Words<'_>) -> Effect {
        rest.eat_any(&["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE"]);
        if rest.eat(&["OR"]) {
            rest.0 = rest.0.get(1..).unwrap_or_default();
        }
        rest.eat(&["INTO"]);
        let table = rest.name();
        if table.as_ref().is_some_and(|table| self.rebuilt.contains(table)) {
            return CONTRACT;
        }
        let by_values = rest.0.iter().find_map(|word| match word {
            Word::Plain(word) if ["VALUES", "VALUE", "SET", "DEFAULT"].contains(&word.as_str()) => Some(true),
            Word::Plain(word) if ["SELECT", "WITH", "TABLE"].contains(&word.as_str()) => Some(false),
            _ => None,
        });
        if by_values == Some(true) { EXPAND } else { BACKFILL }
    }

    fn alter(&mut self, mut rest: Words<'_>) -> Effect {
        rest.eat_any(&["ONLINE", "IGNORE"]);
        if rest.eat(&["TABLE"]) {
            return self.alter_table(rest);
        }
        let renames = rest.any(&["RENAME"]) || rest.has_run(&["SET", "SCHEMA"]);
        match rest.first() {
            Some("DEFAULT" | "DATABASE" | "ROLE" | "USER" | "SYSTEM" | "SERVER") => Effect::Neutral,
            _ if renames => CONTRACT,
            Some("TYPE") if rest.any(&["DROP"]) || rest.has_run(&["ALTER", "ATTRIBUTE"]) => CONTRACT,
            Some("TYPE" | "SEQUENCE" | "INDEX" | "EXTENSION" | "PUBLICATION") => EXPAND,
            Some("DOMAIN") if rest.any(&["DROP", "VALIDATE"]) => EXPAND,
            Some("DOMAIN" | "POLICY" | "VIEW") => CONTRACT,
            _ => Effect::Unclear,
        }
    }

    fn alter_table(&mut self, mut rest: Words<'_>) -> Effect {
        rest.eat(&["IF", "EXISTS"]);
        rest.eat(&["ONLY"]);
        let table = rest.name();
        rest.eat_mark(b'*');
        let mut whole = Effect::Neutral;
        for action in rest.by_commas() {
            whole = stricter(whole, self.action(table.as_ref(), action));
        }
        self.on(table.as_ref(), whole)
    }

    fn action(&mut self, table: Option<&String>, mut rest: Words<'_>) -> Effect {
        let Some(verb) = rest.first() else { return Effect::Neutral };
        rest.0 = &rest.0[1..];
        match verb {
            "ADD" => self.add(table, rest),
            "ALTER" => alter_column(rest),
            "DROP" | "RENAME" | "MODIFY" | "CHANGE" | "CONVERT" | "CHARACTER" | "CHARSET" | "FORCE"
            | "DETACH" | "EXCHANGE" | "TRUNCATE" | "DISCARD" => CONTRACT,
            "ENABLE" if rest.any(&["SECURITY"]) => CONTRACT,
            "SET" if rest.first() == Some("SCHEMA") => CONTRACT,
            "VALIDATE" | "ATTACH" | "INHERIT" | "DISABLE" | "ENABLE" => EXPAND,
            _ if TABLE_OPTIONS.contains(&verb) => Effect::Neutral,
            _ => Effect::Unclear,
        }
    }

    fn add(&mut self, table: Option<&String>, mut rest: Words<'_>) -> Effect {
        match rest.first() {
            Some("INDEX" | "KEY" | "FULLTEXT" | "SPATIAL" | "PARTITION") => return EXPAND,
            Some("CONSTRAINT" | "UNIQUE" | "CHECK" | "FOREIGN" | "PRIMARY" | "EXCLUDE") => {
                let checks = rest.any(&["CHECK", "EXCLUDE"]);
                return if !checks && self.all_added(table, &rest.listed_names()) {
                    EXPAND
                } else {
                    CONTRACT
                };
            }
            _ => {}
        }
        rest.eat(&["COLUMN"]);
        rest.eat(&["IF", "NOT", "EXISTS"]);
        // MySQL: ADD COLUMN (a INT, b INT)
        let columns = match rest.0 {
            [Word::Mark(b'('), inner @ .., Word::Mark(b')')] => Words(inner).by_commas(),
            _ => vec![rest],
        };
        let mut effect = EXPAND;
        for mut column in columns {
            let required = column.has_run(&["NOT", "NULL"]) && !column.any(&FILLS_ITSELF);
            if required {
                effect = Effect::Unsafe(NOT_NULL_ADVICE);
            }
            if let Some((table, name)) = table.zip(column.name()) {
                self.added.insert(format!("{table}.{name}"));
            }
        }
        effect
    }

    /// `DO $$ … $$`: as clear as the statements in it.
    fn anonymous_block(&mut self, all: &[Word], syntax: Syntax) -> Effect {
        let body = all.iter().find_map(|word| match word {
            Word::Literal(text) if text.starts_with('$') => Some(text.as_str()),
            _ => None,
        });
        let Some(body) = body else { return Effect::Unclear };
        let tag = body[1..].find('$').map_or(0, |at| at + 2);
        let inner = body.get(tag..body.len().saturating_sub(tag)).unwrap_or_default();
        let mut whole = Effect::Neutral;
        for fragment in split(inner, syntax, 1) {
            whole = stricter(whole, self.block_statement(&fragment.sql, syntax));
        }
        whole
    }

    fn block_statement(&mut self, sql: &str, syntax: Syntax) -> Effect {
        let all = words(sql, syntax);
        let opens =
            |w: &Word| matches!(w, Word::Plain(w) if ["BEGIN", "THEN", "ELSE", "LOOP"].contains(&w.as_str()));
        let start = all.iter().rposition(opens).map_or(0, |at| at + 1);
        let rest = Words(&all[start..]);
        match rest.first() {
            None if rest.is_empty() => Effect::Neutral,
            Some("NULL" | "END" | "RAISE") => Effect::Neutral,
            Some(
                "CREATE" | "ALTER" | "DROP" | "UPDATE" | "DELETE" | "INSERT" | "TRUNCATE" | "COMMENT"
                | "GRANT" | "REVOKE",
            ) => {
                // The effect is read from words again: literals stay quoted, names stay names.
                self.effect(&tail_from(sql, syntax, start), syntax)
            }
            _ => Effect::Unclear,
        }
    }
}

/// The text from the n-th word on.
fn tail_from(sql: &str, syntax: Syntax, n: usize) -> String {
    let start = super::lexer::tokens(sql, syntax)
        .filter(|t| t.kind != super::lexer::Kind::Conditional)
        .nth(n)
        .map_or(sql.len(), |t| t.start);
    sql[start..].to_owned()
}

fn alter_column(mut rest: Words<'_>) -> Effect {
    if matches!(rest.first(), Some("INDEX" | "CONSTRAINT")) {
        return Effect::Neutral;
    }
    rest.eat(&["COLUMN"]);
    rest.name();
    if rest.eat(&["DROP", "NOT", "NULL"]) || rest.eat(&["SET", "DEFAULT"]) || rest.eat(&["ADD"]) {
        return EXPAND;
    }
    if rest.eat(&["SET", "NOT", "NULL"])
        || rest.eat(&["DROP"])
        || rest.eat(&["TYPE"])
        || rest.eat(&["SET", "DATA"])
    {
        return CONTRACT;
    }
    match rest.first() {
        Some("SET" | "RESET" | "RESTART") => Effect::Neutral,
        _ => Effect::Unclear,
    }
}

/// Of two effects in one statement, the one that asks for more care.
fn stricter(a: Effect, b: Effect) -> Effect {
    let rank = |effect| match effect {
        Effect::Neutral => 0,
        Effect::Is(Phase::Expand) => 1,
        Effect::Is(Phase::Backfill) => 2,
        Effect::Is(Phase::Contract) => 3,
        Effect::Unclear => 4,
        Effect::Unsafe(_) => 5,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// A NOT NULL column that has one of these gets its value by itself.
const FILLS_ITSELF: [&str; 10] = [
    "DEFAULT",
    "GENERATED",
    "AUTO_INCREMENT",
    "AUTOINCREMENT",
    "SERIAL",
    "BIGSERIAL",
    "SMALLSERIAL",
    "SERIAL4",
    "SERIAL8",
    "AS",
];

/// Statements without effect on what running code may do.
const NEUTRAL: [&str; 40] = [
    "SELECT",
    "VALUES",
    "SHOW",
    "EXPLAIN",
    "SET",
    "RESET",
    "PRAGMA",
    "ANALYZE",
    "ANALYSE",
    "VACUUM",
    "REINDEX",
    "COMMENT",
    "GRANT",
    "NOTIFY",
    "LISTEN",
    "DISCARD",
    "CHECKPOINT",
    "USE",
    "OPTIMIZE",
    "FLUSH",
    "LOCK",
    "UNLOCK",
    "BEGIN",
    "COMMIT",
    "START",
    "END",
    "ROLLBACK",
    "ABORT",
    "SAVEPOINT",
    "RELEASE",
    "SECURITY",
    "CLUSTER",
    "REFRESH",
    "CHECK",
    "DESCRIBE",
    "TABLE",
    "WITH",
    "REASSIGN",
    "REPAIR",
    "DEALLOCATE",
];

/// `ALTER TABLE` actions that code can't see.
const TABLE_OPTIONS: [&str; 22] = [
    "OWNER",
    "SET",
    "RESET",
    "CLUSTER",
    "REPLICA",
    "NO",
    "ENGINE",
    "COMMENT",
    "AUTO_INCREMENT",
    "ROW_FORMAT",
    "ALGORITHM",
    "LOCK",
    "ORDER",
    "STATS_PERSISTENT",
    "STATS_AUTO_RECALC",
    "STATS_SAMPLE_PAGES",
    "KEY_BLOCK_SIZE",
    "COMPRESSION",
    "WAIT",
    "NOWAIT",
    "OPTIMIZE",
    "ANALYZE",
];

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;

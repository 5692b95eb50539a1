//! A migration as rules read it: its statements as words, where each stands, and what the migration itself has made.
//!
//! A table that the same migration makes has no rows and no readers, so nothing done to it can hurt: [`Script::actions`],
//! [`Script::added_columns`] and [`Script::indexes`] leave such tables out.

use std::collections::HashSet;

use cutover_model::migration::PhaseReading;

use crate::{
    dialect::Dialect,
    migration::Migration,
    sql::{Kind, Syntax, Word, Words, classify, tokens, words},
};

/// One migration, read for one database.
pub(super) struct Script<'a> {
    pub(super) migration: &'a Migration,
    pub(super) dialect: Dialect,
    pub(super) statements: Vec<Read>,
    /// Tables that it makes, by name without schema, in lower case.
    pub(super) created: HashSet<String>,
    /// Tables that it makes under one name to take the place of another: (new, old).
    pub(super) rebuilt: Vec<(String, String)>,
    /// What its SQL says, whatever its header says.
    pub(super) phase: PhaseReading,
}

/// One statement.
pub(super) struct Read {
    pub(super) start: usize,
    pub(super) line: u32,
    pub(super) sql: String,
    words: Vec<Word>,
}

impl Read {
    pub(super) fn words(&self) -> Words<'_> {
        Words(&self.words)
    }

    /// What follows these first words, when it begins with them.
    pub(super) fn after(&self, run: &[&str]) -> Option<Words<'_>> {
        let mut rest = self.words();
        rest.eat(run).then_some(rest)
    }

    /// Its literals as written, with their offsets in the file.
    pub(super) fn literals(&self, syntax: Syntax) -> Vec<(usize, &str)> {
        let literal = tokens(&self.sql, syntax).filter(|token| token.kind == Kind::Literal);
        literal.map(|token| (self.start + token.start, token.text(&self.sql))).collect()
    }
}

/// One action of `ALTER TABLE` on a table that was there before.
pub(super) struct Action<'s> {
    pub(super) at: usize,
    pub(super) table: String,
    /// From the verb on.
    pub(super) words: Words<'s>,
    /// The whole statement after the table's name.
    pub(super) all: Words<'s>,
}

/// One column that is added to a table that was there before.
pub(super) struct Column<'s> {
    pub(super) at: usize,
    pub(super) table: String,
    pub(super) name: String,
    /// From its type on.
    pub(super) words: Words<'s>,
    pub(super) all: Words<'s>,
}

/// One `CREATE INDEX` on a table that was there before.
pub(super) struct Index {
    pub(super) at: usize,
    pub(super) table: String,
    pub(super) unique: bool,
    /// `FULLTEXT`, `SPATIAL`.
    pub(super) kind: Option<&'static str>,
    pub(super) columns: usize,
}

impl<'a> Script<'a> {
    pub(super) fn read(migration: &'a Migration, dialect: Dialect) -> Self {
        let syntax = dialect.syntax();
        let statements = migration.statements(dialect);
        let phase = classify(&statements, syntax);
        let read = |s: crate::sql::Statement| Read {
            words: words(&s.sql, syntax),
            start: s.start,
            line: s.line,
            sql: s.sql,
        };
        let statements: Vec<Read> = statements.into_iter().map(read).collect();
        let created = statements.iter().filter_map(created_table).collect();
        let rebuilt = rebuilt(&statements, &created);
        Self { migration, dialect, statements, created, rebuilt, phase }
    }

    pub(super) fn syntax(&self) -> Syntax {
        self.dialect.syntax()
    }

    pub(super) fn existed(&self, table: &str) -> bool {
        !self.created.contains(table)
    }

    /// The statement in which an offset is, or the one before it.
    pub(super) fn statement_at(&self, at: usize) -> Option<&Read> {
        let after = self.statements.partition_point(|statement| statement.start <= at);
        self.statements.get(after.checked_sub(1)?)
    }

    /// Offset of the statement on a line that the classifier named.
    pub(super) fn start_of_line(&self, line: u32) -> usize {
        self.statements.iter().find(|statement| statement.line == line).map_or(0, |s| s.start)
    }

    /// Statements that begin with these words, and what follows.
    pub(super) fn beginning(&self, run: &[&str]) -> Vec<(&Read, Words<'_>)> {
        self.statements.iter().filter_map(|s| Some((s, s.after(run)?))).collect()
    }

    pub(super) fn actions(&self) -> Vec<Action<'_>> {
        let mut actions = Vec::new();
        for statement in &self.statements {
            let Some((table, all)) = altered_table(statement) else { continue };
            if !self.existed(&table) {
                continue;
            }
            let parts = all.by_commas().into_iter();
            actions.extend(parts.map(|words| Action {
                at: statement.start,
                table: table.clone(),
                words,
                all,
            }));
        }
        actions
    }

    pub(super) fn added_columns(&self) -> Vec<Column<'_>> {
        let mut columns = Vec::new();
        for action in self.actions() {
            let mut words = action.words;
            if !words.eat(&["ADD"]) || words.first().is_some_and(|word| NOT_COLUMNS.contains(&word)) {
                continue;
            }
            words.eat(&["COLUMN"]);
            words.eat(&["IF", "NOT", "EXISTS"]);
            let each = match words.0 {
                [Word::Mark(b'('), inner @ .., Word::Mark(b')')] => Words(inner).by_commas(),
                _ => vec![words],
            };
            for mut words in each {
                let Some(name) = words.name() else { continue };
                let (at, table, all) = (action.at, action.table.clone(), action.all);
                columns.push(Column { at, table, name, words, all });
            }
        }
        columns
    }

    pub(super) fn indexes(&self) -> Vec<Index> {
        let mut found = Vec::new();
        for (statement, mut rest) in self.beginning(&["CREATE"]) {
            rest.eat(&["OR", "REPLACE"]);
            let unique = rest.eat(&["UNIQUE"]);
            let kind = ["FULLTEXT", "SPATIAL"].into_iter().find(|kind| rest.eat(&[kind]));
            if !rest.eat(&["INDEX"]) {
                continue;
            }
            let on = rest.0.iter().position(|word| *word == Word::Plain("ON".into()));
            let mut rest = Words(on.map_or(&[], |at| &rest.0[at + 1..]));
            rest.eat(&["ONLY"]);
            let Some(table) = rest.name() else { continue };
            if self.existed(&table) {
                let columns = in_first_parentheses(rest).by_commas().len();
                found.push(Index { at: statement.start, table, unique, kind, columns });
            }
        }
        found
    }
}

/// What begins a thing to add that is no column.
const NOT_COLUMNS: [&str; 11] = [
    "CONSTRAINT",
    "UNIQUE",
    "CHECK",
    "FOREIGN",
    "PRIMARY",
    "EXCLUDE",
    "INDEX",
    "KEY",
    "FULLTEXT",
    "SPATIAL",
    "PARTITION",
];

fn created_table(statement: &Read) -> Option<String> {
    let mut rest = statement.after(&["CREATE"])?;
    rest.eat_any(&["TEMP", "TEMPORARY", "UNLOGGED", "GLOBAL", "LOCAL", "FOREIGN", "VIRTUAL"]);
    if !rest.eat(&["TABLE"]) {
        return None;
    }
    rest.eat(&["IF", "NOT", "EXISTS"]);
    rest.name()
}

/// SQLite's way to change a table: make a new one, fill it, drop the old one, rename.
fn rebuilt(statements: &[Read], created: &HashSet<String>) -> Vec<(String, String)> {
    let dropped: HashSet<String> = statements.iter().filter_map(dropped_table).collect();
    let renamed = statements.iter().filter_map(|statement| {
        let (new, mut rest) = altered_table(statement)?;
        rest.eat(&["RENAME", "TO"]).then(|| rest.name()).flatten().map(|old| (new, old))
    });
    renamed.filter(|(new, old)| created.contains(new) && dropped.contains(old)).collect()
}

/// The table that `DROP TABLE` names.
pub(super) fn dropped_table(statement: &Read) -> Option<String> {
    let mut rest = statement.after(&["DROP", "TABLE"])?;
    rest.eat(&["IF", "EXISTS"]);
    rest.name()
}

/// The table that `ALTER TABLE` names, and what follows.
pub(super) fn altered_table(statement: &Read) -> Option<(String, Words<'_>)> {
    let mut rest = statement.after(&["ALTER"])?;
    rest.eat_any(&["ONLINE", "IGNORE"]);
    if !rest.eat(&["TABLE"]) {
        return None;
    }
    rest.eat(&["IF", "EXISTS"]);
    rest.eat(&["ONLY"]);
    let table = rest.name()?;
    rest.eat_mark(b'*');
    Some((table, rest))
}

/// The words between the first `(` and its `)`.
pub(super) fn in_first_parentheses(words: Words<'_>) -> Words<'_> {
    let Some(open) = words.0.iter().position(|word| *word == Word::Mark(b'(')) else { return Words(&[]) };
    let mut depth = 0usize;
    for (at, word) in words.0.iter().enumerate().skip(open) {
        match word {
            Word::Mark(b'(') => depth += 1,
            Word::Mark(b')') if depth == 1 => return Words(&words.0[open + 1..at]),
            Word::Mark(b')') => depth -= 1,
            _ => {}
        }
    }
    Words(&words.0[open + 1..])
}

/// `ALGORITHM = COPY`, `LOCK=NONE`: the word after a name and perhaps `=`.
pub(super) fn option<'w>(words: Words<'w>, name: &str) -> Option<&'w str> {
    let at = words.0.iter().position(|word| matches!(word, Word::Plain(word) if word == name))?;
    let mut rest = Words(&words.0[at + 1..]);
    rest.eat_mark(b'=');
    rest.first()
}

/// Where each line of a text begins: places of many offsets, each found in the time of one line.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { text, starts: std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect() }
    }

    /// Line and column, both from 1; the column counts characters.
    pub(super) fn place(&self, at: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let before = self.text.get(start..at).unwrap_or_default();
        let column = before.chars().filter(|c| *c != '\u{feff}').count() + 1;
        let bounded = |number| u32::try_from(number).unwrap_or(u32::MAX);
        (bounded(line), bounded(column))
    }
}

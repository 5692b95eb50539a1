//! One migration as read from its folder: text, key in the ledger, checksum, and what its SQL is for a dialect.

use std::{fmt, path::PathBuf};

use cutover_model::migration::{DecidedBy, MigrationId, Phase, PhaseReading};
use sha2::{Digest, Sha256, Sha384};

use crate::{
    dialect::Dialect,
    format::refinery,
    sql::{Statement, classify, split},
};

/// What a ledger row is found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Cutover: the id. drizzle 1.0: the folder's name. diesel, dbmate: the version.
    Text(String),
    /// sqlx, refinery, golang-migrate: the version. drizzle 0.x: `when`.
    Number(i64),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// How a format digests a file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// SHA-256 of the text as it is: drizzle.
    Sha256,
    /// SHA-256 of the text without BOM and with LF line ends: Cutover.
    Sha256OfLines,
    /// SHA-384 of the text without these characters: sqlx.
    Sha384 { ignored: Vec<char> },
    /// SipHash of name, version (in 64 bits when `wide`, else 32) and text, written as a decimal number: refinery.
    Refinery { name: String, version: i64, wide: bool },
    /// Its ledger keeps none: golang-migrate, dbmate, diesel.
    None,
}

impl Checksum {
    pub(crate) fn of(&self, text: &str) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha256OfLines => Sha256::digest(lines(text)).to_vec(),
            Self::Sha384 { ignored } if ignored.is_empty() => Sha384::digest(text).to_vec(),
            Self::Sha384 { ignored } => Sha384::digest(text.replace(ignored.as_slice(), "")).to_vec(),
            Self::Refinery { name, version, wide } => {
                refinery::checksum(name, *version, *wide, text).to_be_bytes().to_vec()
            }
            Self::None => Vec::new(),
        }
    }

    /// As the ledger writes it.
    fn recorded(&self, text: &str) -> String {
        match self {
            Self::Refinery { name, version, wide } => {
                refinery::checksum(name, *version, *wide, text).to_string()
            }
            _ => hex(&self.of(text)),
        }
    }

    /// Whether a ledger's checksum is this text's.
    fn is(&self, text: &str, recorded: &str) -> bool {
        let other_width = match self {
            Self::Refinery { name, version, wide } => {
                refinery::checksum(name, *version, !wide, text).to_string() == recorded
            }
            _ => false,
        };
        other_width || self.recorded(text) == recorded
    }
}

fn lines(text: &str) -> String {
    text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n")
}

/// One migration of a folder.
#[derive(Debug, Clone)]
pub(crate) struct Migration {
    pub(crate) id: MigrationId,
    /// For people: relative to where the folder was named.
    pub(crate) file: PathBuf,
    pub(crate) sql: String,
    pub(crate) key: Key,
    pub(crate) checksum: Checksum,
    /// drizzle: milliseconds since 1970 in its ledger's `created_at`; 0 elsewhere.
    pub(crate) when: i64,
    /// False: `-- no-transaction`.
    pub(crate) transaction: bool,
    pub(crate) header: Option<Phase>,
    /// Pieces are divided by drizzle's `--> statement-breakpoint` before they are split into statements.
    pub(crate) breakpoints: bool,
}

pub(crate) const BREAKPOINT: &str = "--> statement-breakpoint";

impl Migration {
    pub(crate) fn digest(&self) -> Vec<u8> {
        self.checksum.of(&self.sql)
    }

    /// Whether the ledger's checksum is that of the file exactly as it is.
    pub(crate) fn has_this_checksum(&self, recorded: &str) -> bool {
        self.checksum.is(&self.sql, recorded)
    }

    /// The checksum as the ledger writes it; empty where it keeps none.
    pub(crate) fn recorded_checksum(&self) -> String {
        self.checksum.recorded(&self.sql)
    }

    /// Whether the ledger's checksum is this file's. Line ends and BOM may differ from when it was applied; an empty one
    /// was written by a migrator that keeps none.
    pub(crate) fn has_checksum(&self, recorded: &str) -> bool {
        let is = |text: &str| self.checksum.is(text, recorded);
        if recorded.is_empty() || is(&self.sql) {
            return true;
        }
        let lf = lines(&self.sql);
        let crlf = lf.replace('\n', "\r\n");
        is(&lf) || is(&crlf) || is(&format!("\u{feff}{lf}")) || is(&format!("\u{feff}{crlf}"))
    }

    /// Its statements, with offsets in the file. A `BEGIN` first with a `COMMIT` last is left out: the transaction is Cutover's.
    pub(crate) fn statements(&self, dialect: Dialect) -> Vec<Statement> {
        let syntax = dialect.syntax();
        let mut statements = Vec::new();
        let (mut line, mut at) = (1, 0);
        let pieces: Box<dyn Iterator<Item = &str>> = if self.breakpoints {
            Box::new(self.sql.split(BREAKPOINT))
        } else {
            Box::new(std::iter::once(self.sql.as_str()))
        };
        for piece in pieces {
            let found = split(piece, syntax, line).into_iter();
            statements.extend(found.map(|statement| Statement { start: at + statement.start, ..statement }));
            at += piece.len() + BREAKPOINT.len();
            let breaks = piece.bytes().filter(|b| *b == b'\n').count();
            line = line.saturating_add(u32::try_from(breaks).unwrap_or(u32::MAX));
        }
        if let [first, .., last] = statements.as_slice()
            && begins_transaction(first)
            && ends_transaction(last)
        {
            statements.pop();
            statements.remove(0);
        }
        statements
    }

    /// A migration of this text, as Cutover's own format reads it.
    #[cfg(test)]
    pub(crate) fn of_text(sql: &str) -> Self {
        Self {
            id: "0001_x".parse().expect("an id"),
            file: "0001_x.sql".into(),
            sql: sql.into(),
            key: Key::Number(1),
            checksum: Checksum::Sha256OfLines,
            when: 0,
            transaction: !crate::sql::says_no_transaction(sql),
            header: crate::sql::header_phase(sql).expect("a phase"),
            breakpoints: false,
        }
    }

    /// The phase: the header's word, else what the statements say.
    pub(crate) fn phase(&self, statements: &[Statement], dialect: Dialect) -> PhaseReading {
        match self.header {
            Some(phase) => PhaseReading::Clear { phase, by: DecidedBy::Header },
            None => classify(statements, dialect.syntax()),
        }
    }
}

fn begins_transaction(statement: &Statement) -> bool {
    matches!(upper(statement).as_str(), "BEGIN" | "BEGIN TRANSACTION" | "BEGIN WORK" | "START TRANSACTION")
}

fn ends_transaction(statement: &Statement) -> bool {
    matches!(
        upper(statement).as_str(),
        "COMMIT" | "COMMIT TRANSACTION" | "COMMIT WORK" | "END" | "END TRANSACTION"
    )
}

fn upper(statement: &Statement) -> String {
    statement.sql.split_whitespace().collect::<Vec<_>>().join(" ").to_uppercase()
}

/// Whether a statement begins, ends or cuts a transaction of its own, which would end Cutover's.
pub(crate) fn controls_transaction(statement: &Statement) -> bool {
    let text = upper(statement);
    let first = text.split(' ').next().unwrap_or_default();
    begins_transaction(statement)
        || matches!(first, "COMMIT" | "ROLLBACK" | "ABORT" | "END") && !text.starts_with("ROLLBACK TO")
}

/// A command of a database's own client, which no server understands: what it is, and what to write instead.
pub(crate) fn client_command(
    statement: &Statement,
    dialect: Dialect,
) -> Option<(&'static str, &'static str)> {
    let text = upper(statement);
    match dialect {
        Dialect::Postgres if text.starts_with('\\') => {
            Some(("a command of psql, not SQL", "take it out: the connection is Cutover's"))
        }
        Dialect::Postgres if text.starts_with("COPY ") && text.contains(" FROM STDIN") => {
            Some(("data for `COPY … FROM STDIN` can't be sent by a migration", "write it as INSERT … VALUES"))
        }
        Dialect::Mysql if text.starts_with("DELIMITER ") => Some((
            "`DELIMITER` is a command of MySQL's client, not SQL",
            "take it out and end the body with `;`: Cutover sees where a body ends",
        )),
        _ => None,
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(sql: &str, checksum: Checksum) -> Migration {
        Migration {
            id: "0001_x".parse().unwrap(),
            file: "0001_x.sql".into(),
            sql: sql.into(),
            key: Key::Number(1),
            checksum,
            when: 0,
            transaction: true,
            header: None,
            breakpoints: true,
        }
    }

    #[test]
    fn line_ends_and_bom_do_not_change_a_checksum() {
        let refinery = Checksum::Refinery { name: "x".into(), version: 1, wide: false };
        for checksum in
            [Checksum::Sha256, Checksum::Sha256OfLines, Checksum::Sha384 { ignored: vec![] }, refinery]
        {
            let texts = ["a\nb\n", "a\r\nb\r\n", "\u{feff}a\nb\n", "\u{feff}a\r\nb\r\n"];
            for recorded in texts {
                for now in texts {
                    let recorded = migration(recorded, checksum.clone()).recorded_checksum();
                    assert!(migration(now, checksum.clone()).has_checksum(&recorded));
                    assert!(!migration("a\nc\n", checksum.clone()).has_checksum(&recorded));
                }
            }
        }
        assert!(migration("x", Checksum::Sha256).has_checksum(""));
    }

    #[test]
    fn breakpoints_divide_and_lines_go_on() {
        let sql =
            "CREATE TABLE a (x int)\n--> statement-breakpoint\nSELECT 1;--> statement-breakpoint\nSELECT 2;";
        let statements = migration(sql, Checksum::Sha256).statements(Dialect::Postgres);
        let got: Vec<_> = statements.iter().map(|s| (s.sql.as_str(), s.line)).collect();
        assert_eq!(got, [("CREATE TABLE a (x int)", 1), ("SELECT 1", 3), ("SELECT 2", 4)]);
    }

    #[test]
    fn an_outer_transaction_of_the_file_is_ours() {
        let statements =
            migration("BEGIN;\nSELECT 1;\nCOMMIT;", Checksum::Sha256).statements(Dialect::Postgres);
        assert_eq!(statements.len(), 1);
        let inner = migration("SELECT 1; COMMIT; SELECT 2", Checksum::Sha256).statements(Dialect::Postgres);
        assert!(controls_transaction(&inner[1]) && !controls_transaction(&inner[0]));
    }

    #[test]
    fn client_commands_are_known() {
        let is = |sql: &str, dialect| {
            client_command(&migration(sql, Checksum::Sha256).statements(dialect)[0], dialect).is_some()
        };
        assert!(is("DELIMITER //\nCREATE TRIGGER t …", Dialect::Mysql) && !is("SELECT 1", Dialect::Mysql));
        assert!(
            is("copy t (a) from stdin;", Dialect::Postgres) && !is("COPY t FROM '/x'", Dialect::Postgres)
        );
        assert!(is("\\connect shop", Dialect::Postgres) && !is("COPY t FROM STDIN", Dialect::Sqlite));
    }
}

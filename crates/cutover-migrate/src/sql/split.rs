//! Where one statement ends and the next begins.
//!
//! A `;` ends a statement unless it stands in a quote, in parentheses (PostgreSQL rules), or in the body of a routine
//! or trigger. Bodies are followed by counting what opens a block (`BEGIN`, `CASE`, and at the start of an inner
//! statement `IF`, `LOOP`, `WHILE`, `REPEAT`, `FOR`) against `END`. `DELIMITER` is a command of MySQL's client, not SQL;
//! it is not needed here.

use super::lexer::{Kind, Syntax, Token, tokens};

/// One statement: its bytes as in the file, without the closing `;`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    /// What is sent.
    pub(crate) sql: String,
    /// Line of its first word in the file, 1 or more.
    pub(crate) line: u32,
    /// Offset of its first byte in the text it was split from.
    pub(crate) start: usize,
}

impl Statement {
    /// Its first words for people: identifiers and keywords, never a literal, at most about 60 characters.
    pub(crate) fn summary(&self, syntax: Syntax) -> String {
        let mut summary = String::new();
        for token in tokens(&self.sql, syntax) {
            let piece = match token.kind {
                Kind::Word | Kind::Quoted => token.text(&self.sql),
                Kind::Mark(b'.') => ".",
                Kind::Literal => "…",
                Kind::Mark(_) | Kind::Conditional => break,
            };
            if summary.len() + piece.len() > 60 {
                summary.push('…');
                break;
            }
            if !summary.is_empty() && piece != "." && !summary.ends_with('.') {
                summary.push(' ');
            }
            summary.push_str(piece);
        }
        summary.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl Statement {
    /// Whether a transaction holds it on every database: it changes rows, not shape, and commits nothing itself.
    pub(crate) fn changes_only_data(&self) -> bool {
        let first = self.sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        ["INSERT", "UPDATE", "DELETE", "REPLACE", "SELECT", "WITH", "VALUES"]
            .iter()
            .any(|w| first.eq_ignore_ascii_case(w))
    }

    /// SQLite's `PRAGMA foreign_keys = OFF`.
    pub(crate) fn switches_foreign_keys_off(&self) -> bool {
        let text: String = self.sql.chars().filter(|c| !c.is_whitespace() && !"=();".contains(*c)).collect();
        ["pragmaforeign_keysoff", "pragmaforeign_keys0", "pragmaforeign_keysfalse", "pragmaforeign_keysno"]
            .contains(&text.to_lowercase().as_str())
    }
}

/// Splits text into statements; `first_line` is the line number of the text's first line in its file.
pub(crate) fn split(sql: &str, syntax: Syntax, first_line: u32) -> Vec<Statement> {
    let mut statements = Vec::new();
    let mut lines = Lines { at: 0, line: first_line };
    let mut body = Body::new(syntax);
    let mut first: Option<usize> = None;
    let mut last = 0;
    for token in tokens(sql, syntax) {
        if token.is_mark(b';') && !body.open() {
            if let Some(start) = first.take() {
                statements.push(Statement {
                    sql: sql[start..last].to_owned(),
                    line: lines.of(sql, start),
                    start,
                });
            }
            body = Body::new(syntax);
            continue;
        }
        first.get_or_insert(token.start);
        last = token.end;
        body.see(sql, token);
    }
    if let Some(start) = first {
        statements.push(Statement { sql: sql[start..last].to_owned(), line: lines.of(sql, start), start });
    }
    statements
}

/// Counts lines once, going forward.
struct Lines {
    at: usize,
    line: u32,
}

impl Lines {
    fn of(&mut self, sql: &str, offset: usize) -> u32 {
        let passed = sql.as_bytes()[self.at..offset].iter().filter(|b| **b == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(passed).unwrap_or(u32::MAX));
        self.at = offset;
        self.line
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Statements,
    /// `CASE` inside an expression: there `IF(…)` is a function, not a statement.
    CaseExpression,
}

/// Follows the blocks of a routine's or trigger's body.
struct Body {
    syntax: Syntax,
    words_seen: usize,
    creates: bool,
    /// This statement has a body in which `;` separates inner statements.
    has_body: bool,
    blocks: Vec<Block>,
    parentheses: usize,
    inner_start: bool,
    after_end: bool,
    after_begin: bool,
}

impl Body {
    fn new(syntax: Syntax) -> Self {
        Self {
            syntax,
            words_seen: 0,
            creates: false,
            has_body: false,
            blocks: Vec::new(),
            parentheses: 0,
            inner_start: false,
            after_end: false,
            after_begin: false,
        }
    }

    fn open(&self) -> bool {
        !self.blocks.is_empty() || (self.parentheses > 0 && self.syntax == Syntax::Postgres)
    }

    fn see(&mut self, sql: &str, token: Token) {
        match token.kind {
            Kind::Word => self.word(&token.text(sql).to_ascii_uppercase()),
            Kind::Mark(mark) => self.mark(mark),
            Kind::Quoted | Kind::Literal | Kind::Conditional => {
                self.inner_start = false;
                self.after_end = false;
                self.after_begin = false;
            }
        }
    }

    fn mark(&mut self, mark: u8) {
        match mark {
            b'(' => self.parentheses += 1,
            b')' => self.parentheses = self.parentheses.saturating_sub(1),
            _ => {}
        }
        // `)` closes a routine's parameters, `:` a block's label: an inner statement may follow.
        self.inner_start = matches!(mark, b';' | b')' | b':');
        self.after_end = false;
        self.after_begin = false;
    }

    fn word(&mut self, word: &str) {
        self.words_seen += 1;
        self.head(word);
        let closes = self.has_body && word == "END" && self.blocks.pop().is_some();
        if self.has_body && !self.after_end {
            self.blocks.extend(self.opened_by(word));
        }
        self.after_end = closes;
        self.after_begin = word == "BEGIN";
        self.inner_start = matches!(
            word,
            "BEGIN"
                | "THEN"
                | "ELSE"
                | "DO"
                | "LOOP"
                | "REPEAT"
                | "ROW"
                | "DETERMINISTIC"
                | "DATA"
                | "SQL"
                | "INVOKER"
                | "DEFINER"
        );
    }

    /// What a word opens here. PostgreSQL has blocks of statements only after `BEGIN ATOMIC`, seen at `ATOMIC`.
    fn opened_by(&self, word: &str) -> Option<Block> {
        let in_expression = self.blocks.last() == Some(&Block::CaseExpression);
        match word {
            "CASE" if self.inner_start && !in_expression => Some(Block::Statements),
            "CASE" => Some(Block::CaseExpression),
            "BEGIN" if self.syntax != Syntax::Postgres => Some(Block::Statements),
            "IF" | "LOOP" | "WHILE" | "REPEAT" | "FOR"
                if self.syntax == Syntax::Mysql && self.inner_start && !in_expression =>
            {
                Some(Block::Statements)
            }
            _ => None,
        }
    }

    fn head(&mut self, word: &str) {
        if self.words_seen == 1 {
            self.creates = word == "CREATE";
        }
        // MariaDB's anonymous block.
        if self.syntax == Syntax::Mysql && self.words_seen == 2 && self.after_begin && word == "NOT" {
            self.has_body = true;
            self.blocks.push(Block::Statements);
        }
        if !self.creates || self.has_body && self.syntax != Syntax::Postgres {
            return;
        }
        match self.syntax {
            Syntax::Postgres => {
                if matches!(word, "FUNCTION" | "PROCEDURE") && self.words_seen <= 4 {
                    self.has_body = true;
                }
                if self.has_body && word == "ATOMIC" && self.after_begin && self.blocks.is_empty() {
                    self.blocks.push(Block::Statements);
                }
            }
            Syntax::Mysql => {
                let routine = matches!(word, "PROCEDURE" | "FUNCTION" | "TRIGGER" | "EVENT" | "PACKAGE");
                let other = matches!(
                    word,
                    "TABLE" | "VIEW" | "INDEX" | "DATABASE" | "SCHEMA" | "USER" | "ROLE" | "SERVER"
                );
                self.has_body = routine;
                self.creates = !other;
            }
            Syntax::Sqlite => self.has_body = word == "TRIGGER" && self.words_seen <= 3,
        }
    }
}

#[cfg(test)]
#[path = "split_tests.rs"]
mod tests;

//! Tokens of SQL text in the three databases' lexical rules.
//!
//! Guarantees: it never fails and never panics; comments and white space are skipped; a quote that is never closed
//! runs to the end of the text (the database will say so better than we could). Sources: PostgreSQL `scan.l`,
//! MySQL manual 9.1 and 9.7, SQLite `tokenize.c`.

/// Which database's lexical rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    Postgres,
    Mysql,
    Sqlite,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or an identifier without quotes.
    Word,
    /// An identifier in quotes.
    Quoted,
    /// A string, a number or a dollar-quoted body: never shown to anyone.
    Literal,
    /// One other character.
    Mark(u8),
    /// MySQL's `/*! … */`: a comment that is run.
    Conditional,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Token {
    pub(crate) fn text(self, sql: &str) -> &str {
        &sql[self.start..self.end]
    }

    pub(crate) fn is_mark(self, mark: u8) -> bool {
        self.kind == Kind::Mark(mark)
    }
}

pub(crate) struct Lexer<'a> {
    bytes: &'a [u8],
    syntax: Syntax,
    at: usize,
}

pub(crate) fn tokens(sql: &str, syntax: Syntax) -> Lexer<'_> {
    Lexer { bytes: sql.as_bytes(), syntax, at: 0 }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            let start = self.at;
            if byte.is_ascii_whitespace() || byte == 0x0b {
                self.at += 1;
            } else if self.bytes[start..].starts_with("\u{feff}".as_bytes()) {
                self.at += 3;
            } else if self.line_comment() {
                self.skip_line();
            } else if self.sees(b"/*") {
                let conditional = self.syntax == Syntax::Mysql && (self.sees(b"/*!") || self.sees(b"/*M!"));
                self.skip_block_comment();
                if conditional {
                    return Some(Token { kind: Kind::Conditional, start, end: self.at });
                }
            } else {
                let kind = self.token(byte);
                return Some(Token { kind, start, end: self.at });
            }
        }
    }
}

impl Lexer<'_> {
    fn sees(&self, text: &[u8]) -> bool {
        self.bytes[self.at..].starts_with(text)
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.bytes.get(self.at + ahead).copied()
    }

    fn line_comment(&self) -> bool {
        match self.syntax {
            // MySQL wants white space or a control character after the dashes: `5--1` is a sum.
            Syntax::Mysql => self.sees(b"#") || (self.sees(b"--") && self.peek(2).is_none_or(|b| b <= b' ')),
            Syntax::Postgres | Syntax::Sqlite => self.sees(b"--"),
        }
    }

    fn skip_line(&mut self) {
        let rest = &self.bytes[self.at..];
        let ends = |b: &u8| *b == b'\n' || (*b == b'\r' && self.syntax == Syntax::Postgres);
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0usize;
        while self.at < self.bytes.len() {
            if self.sees(b"/*") && (depth == 0 || self.syntax == Syntax::Postgres) {
                depth += 1;
                self.at += 2;
            } else if self.sees(b"*/") {
                depth -= 1;
                self.at += 2;
                if depth == 0 {
                    return;
                }
            } else {
                self.at += 1;
            }
        }
    }

    fn token(&mut self, byte: u8) -> Kind {
        match (byte, self.syntax) {
            (b'\'', _) => {
                self.quoted(b'\'', self.syntax == Syntax::Mysql);
                Kind::Literal
            }
            // In MySQL a double-quoted text is a string unless ANSI_QUOTES is set; either way it ends the same.
            (b'"', Syntax::Mysql) => {
                self.quoted(b'"', true);
                Kind::Literal
            }
            (b'"', _) => {
                self.quoted(b'"', false);
                Kind::Quoted
            }
            (b'`', Syntax::Mysql | Syntax::Sqlite) => {
                self.quoted(b'`', false);
                Kind::Quoted
            }
            (b'[', Syntax::Sqlite) => {
                let rest = &self.bytes[self.at..];
                self.at += rest.iter().position(|b| *b == b']').map_or(rest.len(), |p| p + 1);
                Kind::Quoted
            }
            (b'$', Syntax::Postgres) if self.dollar_quoted() => Kind::Literal,
            (b'0'..=b'9', _) => self.number_or_word(),
            _ if begins_word(byte) => self.word(),
            _ => {
                self.at += 1;
                Kind::Mark(byte)
            }
        }
    }

    /// From an opening quote past the closing one; a doubled quote stands for itself.
    fn quoted(&mut self, quote: u8, backslash: bool) {
        self.at += 1;
        while let Some(byte) = self.peek(0) {
            if backslash && byte == b'\\' {
                self.at += 2;
            } else if byte == quote {
                self.at += 1;
                if self.peek(0) != Some(quote) {
                    return;
                }
                self.at += 1;
            } else {
                self.at += 1;
            }
        }
        self.at = self.bytes.len();
    }

    /// `E'…'`, and the pieces that continue it after a line break: those keep the backslash rule.
    fn escape_string(&mut self) {
        loop {
            self.quoted(b'\'', true);
            let Some(next) = self.continuation() else { return };
            self.at = next;
        }
    }

    fn continuation(&self) -> Option<usize> {
        let mut at = self.at;
        let mut broke_line = false;
        loop {
            match self.bytes.get(at)? {
                b'\n' | b'\r' => broke_line = true,
                b' ' | b'\t' | 0x0b | 0x0c => {}
                b'-' if broke_line && self.bytes.get(at + 1) == Some(&b'-') => {
                    at += self.bytes[at..].iter().position(|b| *b == b'\n')?;
                }
                b'\'' if broke_line => return Some(at),
                _ => return None,
            }
            at += 1;
        }
    }

    /// `$tag$ … $tag$`; false (and nothing consumed) when the `$` begins no such quote.
    fn dollar_quoted(&mut self) -> bool {
        let rest = &self.bytes[self.at..];
        let tag = rest[1..].iter().take_while(|b| continues_word(**b) && **b != b'$').count();
        let opens = rest.get(tag + 1) == Some(&b'$') && !rest[1].is_ascii_digit();
        if !opens {
            return false;
        }
        let (delimiter, body) = rest.split_at(tag + 2);
        let close = body.windows(delimiter.len()).position(|w| w == delimiter);
        self.at += close.map_or(rest.len(), |p| p + 2 * delimiter.len());
        true
    }

    fn number_or_word(&mut self) -> Kind {
        while self.peek(0).is_some_and(|b| continues_word(b) || b == b'.') {
            self.at += 1;
        }
        Kind::Literal
    }

    fn word(&mut self) -> Kind {
        let start = self.at;
        while self.peek(0).is_some_and(continues_word) {
            self.at += 1;
        }
        let escape = self.syntax == Syntax::Postgres && self.bytes[start..self.at].eq_ignore_ascii_case(b"e");
        if escape && self.peek(0) == Some(b'\'') {
            self.escape_string();
            return Kind::Literal;
        }
        Kind::Word
    }
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

fn continues_word(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit() || byte == b'$'
}

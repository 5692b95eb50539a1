//! A statement as a row of words to be eaten from the left: what classification reads.

use super::lexer::{Kind, Syntax, tokens};

/// One word, name or mark of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// A keyword or plain identifier, upper case.
    Plain(String),
    /// A quoted identifier, without its quotes.
    Quoted(String),
    /// A literal, as written.
    Literal(String),
    Mark(u8),
}

/// Words not yet eaten.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a>(pub(crate) &'a [Word]);

/// All words of a statement.
pub(crate) fn words(sql: &str, syntax: Syntax) -> Vec<Word> {
    tokens(sql, syntax)
        .filter_map(|token| {
            let text = token.text(sql);
            match token.kind {
                Kind::Word => Some(Word::Plain(text.to_uppercase())),
                Kind::Quoted => Some(Word::Quoted(unquoted(text))),
                Kind::Literal => Some(Word::Literal(text.to_owned())),
                Kind::Mark(mark) => Some(Word::Mark(mark)),
                Kind::Conditional => None,
            }
        })
        .collect()
}

fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix(['"', '`', '[']).unwrap_or(text);
    let inner = inner.strip_suffix(['"', '`', ']']).unwrap_or(inner);
    inner.replace("\"\"", "\"").replace("``", "`")
}

impl<'a> Words<'a> {
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn first(self) -> Option<&'a str> {
        match self.0.first() {
            Some(Word::Plain(word)) => Some(word),
            _ => None,
        }
    }

    pub(crate) fn any(self, wanted: &[&str]) -> bool {
        self.0.iter().any(|w| matches!(w, Word::Plain(word) if wanted.contains(&word.as_str())))
    }

    /// Whether these words stand next to each other somewhere.
    pub(crate) fn has_run(self, run: &[&str]) -> bool {
        (0..self.0.len()).any(|at| Words(&self.0[at..]).starts(run))
    }

    fn starts(self, run: &[&str]) -> bool {
        self.0.len() >= run.len()
            && run.iter().zip(self.0).all(|(want, have)| matches!(have, Word::Plain(word) if word == want))
    }

    /// Eats these words if they come next.
    pub(crate) fn eat(&mut self, run: &[&str]) -> bool {
        let eaten = self.starts(run);
        if eaten {
            self.0 = &self.0[run.len()..];
        }
        eaten
    }

    /// Eats any of these words as long as one comes next.
    pub(crate) fn eat_any(&mut self, wanted: &[&str]) {
        while self.first().is_some_and(|word| wanted.contains(&word)) {
            self.0 = &self.0[1..];
        }
    }

    pub(crate) fn eat_mark(&mut self, mark: u8) -> bool {
        let eaten = self.0.first() == Some(&Word::Mark(mark));
        if eaten {
            self.0 = &self.0[1..];
        }
        eaten
    }

    /// Eats a name, perhaps qualified, and gives its last part in lower case.
    pub(crate) fn name(&mut self) -> Option<String> {
        let mut name = self.part()?;
        while self.0.first() == Some(&Word::Mark(b'.')) {
            self.0 = &self.0[1..];
            name = self.part()?;
        }
        Some(name.to_lowercase())
    }

    fn part(&mut self) -> Option<String> {
        let (Word::Plain(name) | Word::Quoted(name)) = self.0.first()? else { return None };
        self.0 = &self.0[1..];
        Some(name.clone())
    }

    /// The names in the parentheses that come first from here; empty when there are none or they hold more than names.
    pub(crate) fn listed_names(self) -> Vec<String> {
        let Some(open) = self.0.iter().position(|w| *w == Word::Mark(b'(')) else { return Vec::new() };
        let mut rest = Words(&self.0[open + 1..]);
        let mut names = Vec::new();
        while let Some(name) = rest.name() {
            names.push(name);
            if !rest.eat_mark(b',') {
                break;
            }
        }
        if rest.eat_mark(b')') { names } else { Vec::new() }
    }

    /// Splits at commas outside parentheses.
    pub(crate) fn by_commas(self) -> Vec<Words<'a>> {
        let mut depth = 0usize;
        self.0
            .split(|word| {
                match word {
                    Word::Mark(b'(') => depth += 1,
                    Word::Mark(b')') => depth = depth.saturating_sub(1),
                    _ => {}
                }
                depth == 0 && *word == Word::Mark(b',')
            })
            .map(Words)
            .collect()
    }
}

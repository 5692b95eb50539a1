//! What a database or the way to it said, cut down to what may be shown.
//!
//! Guarantees: no row's data (PostgreSQL's detail, hint and context are left out; values quoted by data errors are
//! replaced by `…`), no part of a connection URL, no control characters, at most [`MESSAGE_MAX`] bytes.

use std::fmt;

use secrecy::SecretString;

/// The longest message kept, in bytes.
const MESSAGE_MAX: usize = 400;

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// Never connected.
    Connect,
    /// The connection is gone; what the last statement did is not known.
    Lost,
    /// Another session held a lock too long, or a deadlock was broken: trying again may do.
    LockTimeout,
    StatementTimeout,
    /// SQLite: another process is writing.
    Busy,
    /// What was to be created is there.
    ExistsAlready,
    /// A column that is not there.
    NoColumn,
    /// The statement was refused.
    Statement,
}

/// An error of the database, safe to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(crate) kind: FaultKind,
    code: Option<String>,
    message: String,
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.code {
            Some(code) => write!(f, "{} [{code}]", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl Fault {
    /// The database's own code: an SQLSTATE, MySQL's number, SQLite's result code.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The database's message without data of rows.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.kind, FaultKind::Connect | FaultKind::Lost)
    }

    pub(crate) fn said(kind: FaultKind, message: &str) -> Self {
        Self { kind, code: None, message: message.to_owned() }
    }

    pub(crate) fn lost() -> Self {
        Self::said(FaultKind::Lost, "the connection is gone")
    }

    /// This build has no driver for the database.
    pub(crate) fn not_built_in(_: &SecretString) -> Self {
        Self::said(FaultKind::Connect, "this build of Cutover has no driver for that database")
    }

    /// A URL that the driver can't read. What it says may quote the URL, so none of it is kept.
    pub(crate) fn of_url(_: sqlx::Error) -> Self {
        Self::said(
            FaultKind::Connect,
            "the database URL can't be read: is the port a number, is every parameter's value allowed, \
             and are special characters in user and password percent-encoded?",
        )
    }

    /// A connection that was not made. Servers quote user and database here, so their words are replaced by ours.
    pub(crate) fn of_connect(error: &sqlx::Error) -> Self {
        let code = error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
        let text = match error {
            sqlx::Error::Io(cause) => format!("{cause}"),
            sqlx::Error::Tls(_) => "no TLS connection could be made (certificate, name or protocol)".into(),
            sqlx::Error::Database(_) => refusal(code.as_deref()).into(),
            _ => "the server did not answer as a database does".into(),
        };
        Self { kind: FaultKind::Connect, code, message: shown(&text) }
    }

    /// A statement that failed. `read` gives the kind and, for errors that quote a value, the quote it stands in.
    pub(crate) fn of_statement(
        error: sqlx::Error,
        read: impl FnOnce(&str, &str) -> (FaultKind, Option<char>),
    ) -> Self {
        let Some(database) = error.as_database_error() else {
            return match error {
                sqlx::Error::Io(cause) => {
                    Self::said(FaultKind::Lost, &shown(&format!("the connection broke: {cause}")))
                }
                sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => Self::lost(),
                // Decoding: the value itself stays out.
                _ => Self::said(FaultKind::Statement, "the database answered in an unexpected shape"),
            };
        };
        let code = database.code().map(|code| code.into_owned());
        let (kind, quote) = read(code.as_deref().unwrap_or_default(), database.message());
        let message = match quote {
            Some(quote) => without_value(database.message(), quote),
            None => database.message().to_owned(),
        };
        Self { kind, code, message: shown(&message) }
    }

    /// MySQL: its number says more than the SQLSTATE.
    #[cfg(feature = "mysql")]
    pub(crate) fn numbered(mut self, number: Option<u16>) -> Self {
        if let Some(number) = number {
            self.code = Some(number.to_string());
        }
        self
    }
}

fn refusal(code: Option<&str>) -> &'static str {
    match code {
        Some("28P01" | "28000") => "the server refused this user name or password",
        Some("3D000" | "42000") => "the server has no such database, or this user may not use it",
        Some("53300" | "08004") => "the server has no connection left",
        Some("57P03") => "the server is starting up or shutting down",
        Some("08P01") => "the server or pooler does not accept these connection parameters",
        Some("14") => "the file can't be opened: does its folder exist, and may this user write it?",
        Some("26") => "the file is not an SQLite database",
        _ => "the server refused the connection",
    }
}

/// Replaces what stands in quotes in a data error. The value may hold quotes itself: it ends at the last quote, or where
/// the name of a column or key begins (`' for column …`).
fn without_value(message: &str, quote: char) -> String {
    let Some(start) = message.find(quote) else { return message.to_owned() };
    let tail_mark = format!("{quote} for ");
    let end = message
        .rfind(&tail_mark)
        .filter(|end| *end > start)
        .or_else(|| message.rfind(quote).filter(|end| *end > start));
    let tail = end.map_or("", |end| &message[end..]);
    format!("{}{quote}…{tail}", &message[..start])
}

fn shown(text: &str) -> String {
    let mut text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.len() > MESSAGE_MAX {
        let end = (0..=MESSAGE_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_quoted_by_data_errors_are_left_out() {
        let table = [
            (
                "Duplicate entry 'ann@x.org' for key 'users.email'",
                '\'',
                "Duplicate entry '…' for key 'users.email'",
            ),
            ("Duplicate entry 'it's' for key 'k'", '\'', "Duplicate entry '…' for key 'k'"),
            (
                "Incorrect integer value: 'x' for column `d`.`t`.`c` at row 1",
                '\'',
                "Incorrect integer value: '…' for column `d`.`t`.`c` at row 1",
            ),
            (
                "invalid input syntax for type integer: \"s3\"cret\"",
                '"',
                "invalid input syntax for type integer: \"…\"",
            ),
            (
                "value \"12\" is out of range for type integer",
                '"',
                "value \"…\" is out of range for type integer",
            ),
            ("no quote here", '"', "no quote here"),
        ];
        for (message, quote, expected) in table {
            assert_eq!(without_value(message, quote), expected);
        }
    }

    #[test]
    fn messages_are_bounded_and_printable() {
        let long = shown(&"é\n".repeat(1000));
        assert!(long.len() <= MESSAGE_MAX + '…'.len_utf8() && !long.contains('\n'));
    }
}

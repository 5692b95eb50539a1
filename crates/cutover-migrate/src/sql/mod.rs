//! Reading SQL as each database reads it, as far as migrations need: where statements end, and what they do to code
//! that is running. It never rewrites SQL; the bytes of a statement are what is sent.

mod classify;
mod lexer;
mod split;
mod words;

pub(crate) use classify::{classify, header_phase, says_no_transaction};
pub(crate) use lexer::{Kind, Syntax, Token, tokens};
pub(crate) use split::{Statement, split};
pub(crate) use words::{Word, Words, words};

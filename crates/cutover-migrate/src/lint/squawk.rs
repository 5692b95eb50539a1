//! PostgreSQL through `squawk_linter`: its parser and its rules, with our severity, places and ways of allowing.
//!
//! squawk gets the statements at their offsets and nothing else: no comments between them (its own way to ignore needs no
//! reason), no outer `BEGIN` (the transaction is Cutover's). Its finding about a table that the migration makes is dropped.

use std::sync::LazyLock;

use squawk_linter::{Linter, LinterSettings};
use squawk_syntax::SourceFile;

use super::{
    Found,
    rule::{Rule, Severity},
    rules::squawk::{self as rules, UNREADABLE},
    script::{Read, Script, altered_table},
};

/// The rules that are taken from squawk, as squawk knows them.
static TAKEN: LazyLock<Vec<(squawk_linter::Rule, &'static Rule)>> =
    LazyLock::new(|| rules::TAKEN.iter().filter_map(|rule| Some((rule.name.parse().ok()?, rule))).collect());

pub(super) fn find(script: &Script<'_>, found: &mut Vec<Found>) {
    let text = statements_only(script);
    let parsed = SourceFile::parse(&text);
    // A marker that something else would fill in is no SQL, and is said already.
    let marked = found.iter().any(|found| found.rule.name == "placeholder-in-sql");
    if let Some(error) = parsed.errors().first().filter(|_| !marked) {
        let at = usize::from(error.range().start());
        let message = "squawk's parser can't read this, so its rules may miss something here".to_owned();
        found.push(Found { rule: &UNREADABLE, at, table: None, message });
    }
    let mut linter = Linter::from(TAKEN.iter().map(|(theirs, _)| *theirs));
    linter.settings =
        LinterSettings { assume_in_transaction: script.migration.transaction, ..LinterSettings::default() };
    for violation in linter.lint(&parsed, &text) {
        let Some((_, rule)) = TAKEN.iter().find(|(theirs, _)| *theirs == violation.code) else { continue };
        let at = usize::from(violation.text_range.start());
        let table = table_at(script, at);
        let new = table.as_deref().is_some_and(|table| !script.existed(table));
        if new && rule.severity == Severity::Blocks || said_better(script, rule, at) {
            continue;
        }
        let message = violation.message.trim_end_matches('.').to_owned();
        found.push(Found { rule, at, table, message });
    }
}

/// Whether another rule says more about the same thing: squawk advises NOT VALID also for what can't be, takes a new
/// identity column for a generated one, and has a general rule beside the one for enumerated types.
fn said_better(script: &Script<'_>, rule: &Rule, at: usize) -> bool {
    let Some(words) = script.statement_at(at).map(|statement| statement.words()) else { return false };
    match rule.name {
        "constraint-missing-not-valid" => !words.any(&["CHECK", "VALIDATE"]),
        "adding-field-with-default" => words.any(&["IDENTITY"]),
        "renaming-object" => words.has_run(&["RENAME", "VALUE"]),
        _ => false,
    }
}

/// An INSERT of more bytes than this is data: nothing for squawk's rules, and a tree of many times its size.
const DATA: usize = 64 * 1024;

/// The text with everything but the statements blanked, each ended with `;`, at the same offsets.
fn statements_only(script: &Script<'_>) -> String {
    let blank = |byte: u8| if byte == b'\n' { byte } else { b' ' };
    let mut bytes: Vec<u8> = script.migration.sql.bytes().map(blank).collect();
    let is_data = |statement: &&Read| statement.sql.len() > DATA && statement.after(&["INSERT"]).is_some();
    for statement in script.statements.iter().filter(|statement| !is_data(statement)) {
        let end = statement.start + statement.sql.len();
        bytes[statement.start..end].copy_from_slice(statement.sql.as_bytes());
        match bytes.get_mut(end) {
            Some(after) => *after = b';',
            None => bytes.push(b';'),
        }
    }
    // Whole statements over blanks are UTF-8 again.
    String::from_utf8(bytes).unwrap_or_default()
}

/// The table that the statement at an offset changes.
fn table_at(script: &Script<'_>, at: usize) -> Option<String> {
    let statement = script.statement_at(at)?;
    if let Some((table, _)) = altered_table(statement) {
        return Some(table);
    }
    let on = statement.words();
    let after = on.0.iter().position(|word| *word == crate::sql::Word::Plain("ON".into()))?;
    let mut rest = crate::sql::Words(&on.0[after + 1..]);
    statement.after(&["CREATE"])?;
    rest.eat(&["ONLY"]);
    rest.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A rule that a newer squawk brings is taken or left out with a reason, not overlooked.
    #[test]
    fn every_rule_of_squawk_is_taken_or_left_out_with_a_reason() {
        assert_eq!(TAKEN.len(), rules::TAKEN.len(), "a name in the registry is no rule of squawk");
        for theirs in Linter::with_default_rules().rules {
            let name = theirs.to_string();
            let taken = TAKEN.iter().any(|(taken, _)| *taken == theirs);
            let left_out = rules::LEFT_OUT.iter().any(|(left, why)| *left == name && !why.is_empty());
            assert!(taken != left_out, "{name} is neither taken nor left out, or both");
        }
    }
}

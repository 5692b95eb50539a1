//! `-- cutover: allow rule-name: reason`: takes findings of one rule away from the statement that follows.
//!
//! The reason is for whoever reads the file next, so it has to be there. One that allows nothing is a finding too: it would
//! hide the next mistake. What finds secrets can't be allowed away: who has a secret in a file has to take it out.

use super::{
    Found,
    rule::{Check, EVERY, Family, Rule, Severity},
    rules::REGISTRY,
    script::Script,
};
use crate::sql::tokens;

pub(super) static WITHOUT_REASON: Rule = Rule {
    name: "allow-without-reason",
    family: Family::Allowing,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A comment allows a rule without saying why, names a rule that does not exist or can't be allowed, or is \
              another linter's (`squawk-ignore`), which has no reason.",
    locks: "Nothing.",
    next: "write `-- cutover: allow rule-name: reason` on a line of its own before the statement",
    safe: "-- cutover: allow renaming-column: added an hour ago, nothing reads it yet\nALTER TABLE users RENAME COLUMN nmae TO name;",
    check: Check::Allowing,
};

pub(super) static UNUSED: Rule = Rule {
    name: "allow-unused",
    family: Family::Allowing,
    databases: EVERY,
    severity: Severity::Blocks,
    by_size: false,
    problem: "A comment allows a rule that finds nothing in the statement after it. It would hide the next mistake there.",
    locks: "Nothing.",
    next: "take the comment out, or put it directly before the statement it is about",
    safe: "",
    check: Check::Allowing,
};

/// One comment that allows something.
struct Allow {
    at: usize,
    /// Where the statement ends that it is about.
    until: usize,
    rule: &'static Rule,
}

/// Takes away what is allowed; adds what is wrong with the comments themselves. Gives how many findings went.
pub(super) fn apply(script: &Script<'_>, found: &mut Vec<Found>) -> usize {
    let before = found.len();
    let mut wrong = Vec::new();
    for (at, comment) in comments(script) {
        match parse(comment) {
            Ok(None) => {}
            Ok(Some(rule)) => {
                let allow = Allow { at, until: end_of_next(script, at), rule };
                let kept = found.len();
                found.retain(|found| !allow.covers(found));
                if found.len() == kept {
                    let message = format!("`{}` finds nothing in the statement after this", rule.name);
                    wrong.push(Found { rule: &UNUSED, at, table: None, message });
                }
            }
            Err(message) => wrong.push(Found { rule: &WITHOUT_REASON, at, table: None, message }),
        }
    }
    let allowed = before - found.len();
    found.extend(wrong);
    allowed
}

impl Allow {
    fn covers(&self, found: &Found) -> bool {
        found.rule.name == self.rule.name && (self.at..self.until).contains(&found.at)
    }
}

/// The rule that a comment allows; `None` for any other comment; an error says what is wrong with it.
fn parse(comment: &str) -> Result<Option<&'static Rule>, String> {
    if comment.starts_with("squawk-ignore") {
        return Err("`squawk-ignore` has no reason, and Cutover does not obey it".into());
    }
    let said = comment.strip_prefix("cutover:").map(str::trim_start);
    let Some(said) = said.and_then(|said| said.strip_prefix("allow")) else { return Ok(None) };
    let (name, reason) = said.split_once(':').unwrap_or((said, ""));
    let name = name.trim();
    let known = REGISTRY.iter().copied().find(|rule| rule.name == name);
    let Some(rule) = known else { return Err("there is no rule of that name".into()) };
    match rule.family {
        Family::Secrets | Family::Allowing => Err(format!("`{name}` can't be allowed")),
        _ if !reason.chars().any(char::is_alphanumeric) => {
            Err(format!("it says no reason to allow `{name}`"))
        }
        _ => Ok(Some(rule)),
    }
}

/// Comments that stand alone on a line, with the offset of their dashes. Text that looks like one in a literal is none.
fn comments<'s>(script: &'s Script<'_>) -> Vec<(usize, &'s str)> {
    let text = &script.migration.sql;
    if !text.contains("cutover:") && !text.contains("squawk-ignore") {
        return Vec::new();
    }
    let inside: Vec<_> = tokens(text, script.syntax()).filter(|t| t.end - t.start > 2).collect();
    let mut at = 0;
    let mut found = Vec::new();
    for line in text.split_inclusive('\n') {
        let dashes = at + line.len() - line.trim_start().len();
        at += line.len();
        let Some(comment) = line.trim().strip_prefix("--") else { continue };
        let next = inside.partition_point(|token| token.end <= dashes);
        if inside.get(next).is_none_or(|token| token.start > dashes) {
            found.push((dashes, comment.trim()));
        }
    }
    found
}

/// The end of the first statement that ends after an offset.
fn end_of_next(script: &Script<'_>, at: usize) -> usize {
    let ends = script.statements.iter().map(|statement| statement.start + statement.sql.len());
    ends.into_iter().find(|end| *end > at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use crate::{
        Dialect::{Mysql, Postgres},
        lint::{found_in, lint_text},
    };

    #[test]
    fn an_allow_covers_the_next_statement_only() {
        let twice = "-- cutover: allow json-column: read as text only\nALTER TABLE a ADD COLUMN j json;\nALTER TABLE b ADD COLUMN j json;";
        let findings = lint_text(twice, Postgres, &crate::lint::Sizes::default());
        assert_eq!(findings.iter().map(|f| (f.rule, f.line)).collect::<Vec<_>>(), [("json-column", 3)]);
    }

    #[test]
    fn an_allow_in_a_literal_is_text() {
        let sql = "CREATE TABLE t (a text DEFAULT '\n-- cutover: allow nonsense\n');";
        assert!(found_in(sql, Mysql).is_empty());
    }

    #[test]
    fn secrets_can_t_be_allowed() {
        let sql = "-- cutover: allow password-in-migration: only for tests\nCREATE ROLE a PASSWORD 'x1y2z3';";
        assert_eq!(found_in(sql, Postgres), ["allow-without-reason", "password-in-migration"]);
    }
}

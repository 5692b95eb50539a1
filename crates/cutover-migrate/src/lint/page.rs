//! The pages of the rules, made from the registry so that they can't say something else than the code.

use std::fmt::Write;

use super::{
    rule::{Check, Family, Rule},
    rules::REGISTRY,
};

const FAMILIES: [(&str, Family, &str); 8] = [
    ("releases", Family::Releases, "What breaks the code that is running"),
    ("secrets", Family::Secrets, "Secrets, people's data and SQL built from input"),
    ("data", Family::Data, "What deletes or rewrites rows"),
    ("postgres", Family::Postgres, "PostgreSQL: locks and rewrites"),
    ("squawk", Family::Squawk, "PostgreSQL: the rules of squawk"),
    ("mysql", Family::Mysql, "MySQL and MariaDB: copies and locks"),
    ("sqlite", Family::Sqlite, "SQLite: rebuilds, and what it can't do"),
    ("allowing", Family::Allowing, "Allowing a finding"),
];

/// The families of rules, each a page.
pub fn families() -> Vec<&'static str> {
    FAMILIES.iter().map(|(name, ..)| *name).collect()
}

/// The page of a family, or of one rule, as Markdown. `None` when there is neither of that name.
pub fn explain(name: &str) -> Option<String> {
    if let Some((_, family, title)) = FAMILIES.iter().find(|(known, ..)| *known == name) {
        let mut page = format!(
            "# {title}\n\nRules of `cutover migrate lint`, written by `cargo xtask reference`. Change the code, not this page.\n"
        );
        for rule in REGISTRY.iter().filter(|rule| rule.family == *family) {
            page.push('\n');
            page.push_str(&section(rule));
        }
        return Some(page);
    }
    REGISTRY.iter().find(|rule| rule.name == name).map(|rule| section(rule))
}

fn section(rule: &Rule) -> String {
    let mut text = format!("## {}\n\n", rule.name);
    let databases: Vec<_> = rule.databases.iter().map(|database| database.as_str()).collect();
    let size = if rule.by_size { "; warns only, where the database says the table is small" } else { "" };
    let _ = writeln!(text, "{}{size} · {}\n", capital(rule.severity.as_str()), databases.join(", "));
    let _ = writeln!(text, "{}\n", rule.problem);
    let _ = writeln!(text, "**Locks.** {}\n", rule.locks);
    let _ = writeln!(text, "**The safe way.** {}.", capital(rule.next));
    if !rule.safe.is_empty() {
        let _ = writeln!(text, "\n```sql\n{}\n```", rule.safe);
    }
    if matches!(rule.check, Check::Squawk) {
        let _ = writeln!(text, "\nMore in [squawk's page](https://squawkhq.com/docs/{}).", rule.name);
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().collect::<String>() + letters.as_str())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_page_that_says_all_three() {
        for rule in REGISTRY.iter() {
            assert!(FAMILIES.iter().any(|(_, family, _)| *family == rule.family), "{rule:?}");
            for text in [rule.problem, rule.locks, rule.next] {
                assert!(text.len() >= 8, "{rule:?} says too little");
            }
            assert!(
                !rule.next.ends_with('.') && rule.locks.ends_with('.') && rule.problem.ends_with(['.', ')']),
                "{rule:?}"
            );
            assert!(explain(rule.name).is_some_and(|page| page.contains(rule.problem)));
        }
        assert!(families().iter().all(|family| explain(family).is_some()) && explain("nonsense").is_none());
    }
}

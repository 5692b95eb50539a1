//! A report in the forms that people and their tools read.

use std::{collections::BTreeSet, fmt::Write, path::Path};

use cutover_migrate::lint::{Finding, Report, Severity, explain};
use serde_json::{Value, json};

/// `file:line:column`, as editors and terminals make links of, and the next step below.
pub(super) fn people(report: &Report) -> String {
    let mut text = String::new();
    for finding in &report.findings {
        let Finding { rule, line, column, message, next, severity, .. } = finding;
        let file = finding.file.display();
        let _ = writeln!(
            text,
            "{file}:{line}:{column}: {}: {message} [{rule}]\n    next: {next}",
            severity.as_str()
        );
    }
    let blocking = count(report, Severity::Blocks);
    let warning = count(report, Severity::Warns);
    let allowed = if report.allowed == 0 { String::new() } else { format!(", {} allowed", report.allowed) };
    let about =
        if report.findings.is_empty() { "" } else { "\n`cutover migrate lint --explain RULE` says more" };
    let _ = write!(
        text,
        "{} read as {}: {blocking} block, {warning} warn{allowed}{about}",
        plural(report.migrations, "migration"),
        report.dialect.as_str(),
    );
    text
}

fn plural(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn count(report: &Report, severity: Severity) -> usize {
    report.findings.iter().filter(|finding| finding.severity == severity).count()
}

/// The stable document of `--json`.
pub(super) fn document(report: &Report) -> Value {
    json!({
        "dialect": report.dialect.as_str(),
        "migrations": report.migrations,
        "allowed": report.allowed,
        "blocks": report.blocks(),
        "findings": report.findings,
    })
}

/// Workflow commands that GitHub shows beside the lines of a change.
/// Source: GitHub, "Workflow commands for GitHub Actions"; the escapes are those of its `toolkit`, `command.ts`.
pub(super) fn github(report: &Report) -> String {
    let lines = report.findings.iter().map(|finding| {
        let level = match finding.severity {
            Severity::Blocks => "error",
            Severity::Warns => "warning",
        };
        format!(
            "::{level} file={},line={},col={},title={}::{}",
            escaped_property(&finding.file.display().to_string()),
            finding.line,
            finding.column,
            escaped_property(finding.rule),
            escaped(&format!("{}\nnext: {}", finding.message, finding.next)),
        )
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn escaped_property(text: &str) -> String {
    escaped(text).replace(':', "%3A").replace(',', "%2C")
}

/// A log in SARIF 2.1.0 (OASIS), as code-scanning services take it.
pub(super) fn sarif(report: &Report) -> Value {
    let rules: Vec<&str> =
        report.findings.iter().map(|finding| finding.rule).collect::<BTreeSet<_>>().into_iter().collect();
    let described = rules
        .iter()
        .map(|rule| json!({ "id": rule, "help": { "text": explain(rule), "markdown": explain(rule) } }));
    let results = report.findings.iter().map(|finding| {
        let level = match finding.severity {
            Severity::Blocks => "error",
            Severity::Warns => "warning",
        };
        json!({
            "ruleId": finding.rule,
            "ruleIndex": rules.iter().position(|rule| *rule == finding.rule),
            "level": level,
            "message": { "text": format!("{}. Next: {}.", finding.message, finding.next) },
            "locations": [{ "physicalLocation": {
                "artifactLocation": { "uri": uri(&finding.file), "uriBaseId": "%SRCROOT%" },
                "region": { "startLine": finding.line, "startColumn": finding.column },
            }}],
        })
    });
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "cutover migrate lint",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": described.collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

/// A relative path as a URI reference: all but unreserved characters and `/` in percent escapes (RFC 3986).
fn uri(path: &Path) -> String {
    let mut uri = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use cutover_migrate::Dialect;

    use super::*;

    fn report() -> Report {
        let finding = Finding {
            rule: "drops-table",
            severity: Severity::Blocks,
            migration: "0001_a".parse().unwrap(),
            file: "my migrations/0001,a.sql".into(),
            line: 3,
            column: 7,
            message: "100% gone\nreally".into(),
            next: "think".into(),
        };
        Report { dialect: Dialect::Sqlite, migrations: 1, allowed: 2, findings: vec![finding] }
    }

    #[test]
    fn people_get_place_reason_and_next_step() {
        let text = people(&report());
        assert!(text.starts_with(
            "my migrations/0001,a.sql:3:7: blocks: 100% gone\nreally [drops-table]\n    next: think\n"
        ));
        assert!(text.contains("1 migration read as sqlite: 1 block, 0 warn, 2 allowed"), "{text}");
    }

    #[test]
    fn github_s_separators_are_escaped() {
        assert_eq!(
            github(&report()),
            "::error file=my migrations/0001%2Ca.sql,line=3,col=7,title=drops-table::100%25 gone%0Areally%0Anext: think"
        );
    }

    #[test]
    fn sarif_has_what_a_reader_needs() {
        let log = sarif(&report());
        let run = &log["runs"][0];
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(log["version"], "2.1.0");
        assert_eq!(place["artifactLocation"]["uri"], "my%20migrations/0001%2Ca.sql");
        assert_eq!(place["region"]["startLine"], 3);
        let index = run["results"][0]["ruleIndex"].as_u64().unwrap();
        assert_eq!(run["tool"]["driver"]["rules"][usize::try_from(index).unwrap()]["id"], "drops-table");
    }
}

//! `docs/reference/mission.md`: each row of the mission names what shows it, and that must exist.
//!
//! A row is a line `| D1 | … |`. What shows it stands in backquotes: a test as `crate::module::name`, or a command that
//! begins with `cargo ` or `cutover `. A row that nothing shows yet says `open` in a cell of its own.

use super::{File, Finding, Tree, source};

const PAGE: &str = "docs/reference/mission.md";

/// The rows there are: a letter and its last number.
const ROWS: [(char, u32); 4] = [('D', 9), ('P', 10), ('M', 10), ('C', 12)];

/// What breaks in the page; nothing while the page is not written yet.
pub(super) fn rows(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.file(PAGE) else { return Vec::new() };
    let mut found = Vec::new();
    let mut seen = Vec::new();
    for (line, number) in page.text.lines().zip(1..) {
        let Some(row) = row_name(line) else { continue };
        seen.push(row);
        let shown: Vec<&str> = line.split('`').skip(1).step_by(2).filter(|span| shows(span)).collect();
        let open = line.split('|').any(|cell| cell.trim() == "open");
        if shown.is_empty() && !open {
            found.push(Finding::new(page, number, format!("{row} names no test and no command")));
        }
        for test in shown.iter().filter(|span| span.contains("::")) {
            if !exists(tree, test) {
                found.push(Finding::new(page, number, format!("{row}: there is no test `{test}`")));
            }
        }
    }
    for row in ROWS.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}"))) {
        if !seen.contains(&row.as_str()) {
            found.push(Finding::new(page, 0, format!("row {row} is missing")));
        }
    }
    found
}

fn row_name(line: &str) -> Option<&str> {
    let name = line.strip_prefix('|')?.split('|').next()?.trim();
    let letter = name.chars().next()?;
    let numbered = !name[letter.len_utf8()..].is_empty() && name.chars().skip(1).all(|c| c.is_ascii_digit());
    (numbered && ROWS.iter().any(|(known, _)| *known == letter)).then_some(name)
}

fn shows(span: &str) -> bool {
    let path = span.contains("::") && span.chars().all(|c| c.is_alphanumeric() || c == '_' || c == ':');
    path || span.starts_with("cargo ") || span.starts_with("cutover ")
}

/// The test's crate is the first part of its path, its function the last.
fn exists(tree: &Tree, test: &str) -> bool {
    let (Some(package), Some(name)) = (test.split("::").next(), test.rsplit("::").next()) else {
        return false;
    };
    let of_package = |file: &&File| {
        let mut parts = file.path.split('/');
        let first = parts.next().unwrap_or_default();
        let folder =
            if matches!(first, "crates" | "examples") { parts.next().unwrap_or_default() } else { first };
        folder.replace('-', "_") == package
    };
    tree.rust().filter(of_package).any(|file| {
        source::functions(&file.code).iter().any(|f| f.name == name && is_test(&file.code, f.line))
    })
}

/// An attribute that ends in `test` stands directly above the function's line.
fn is_test(code: &str, line: usize) -> bool {
    let above: Vec<&str> = code.lines().take(line.saturating_sub(1)).collect();
    let attributes =
        above.iter().rev().map(|line| line.trim()).take_while(|l| l.is_empty() || l.starts_with('#'));
    attributes.into_iter().any(|l| {
        let name = l.trim_start_matches("#[").split(['(', ']']).next().unwrap_or_default();
        name.rsplit("::").next() == Some("test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "mod tests {\n    #[tokio::test(flavor = \"multi_thread\")]\n    // why\n    async fn works() {\n    }\n    fn not_a_test() {\n    }\n}\n";

    fn page(row: &str) -> String {
        let all = ROWS.iter().flat_map(|(letter, last)| (1..=*last).map(move |n| format!("{letter}{n}")));
        let others = all.filter(|name| name != "D1").map(|name| format!("| {name} | `cargo xtask test` |\n"));
        format!("{row}\n{}", others.collect::<String>())
    }

    fn found(row: &str) -> Vec<String> {
        let tree = Tree::of(&[(PAGE, &page(row)), ("crates/cutover-gate/src/a.rs", CODE)]);
        rows(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn a_row_with_a_real_test_or_a_command_holds() {
        assert!(found("| D1 | `cutover_gate::tests::works` |").is_empty());
        assert!(found("| D1 | `cutover demo` |").is_empty());
        assert!(found("| D1 | recipes | open | |").is_empty());
        assert!(rows(&Tree::of(&[])).is_empty(), "the page may not be written yet");
    }

    #[test]
    fn a_row_without_a_real_test_is_found() {
        assert_eq!(found("| D1 | nothing yet, `PORT` |"), ["D1 names no test and no command"]);
        for gone in
            ["cutover_gate::tests::gone", "cutover_host::tests::works", "cutover_gate::tests::not_a_test"]
        {
            assert_eq!(found(&format!("| D1 | `{gone}` |")), [format!("D1: there is no test `{gone}`")]);
        }
    }

    #[test]
    fn a_missing_row_is_found() {
        assert_eq!(found("| D10x | `cutover demo` |"), ["row D1 is missing"]);
    }
}

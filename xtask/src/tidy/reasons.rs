//! Reasons that must be written down: for a lint that is switched off, and for a dependency.

use super::{File, Finding, Tree};

/// Attributes that switch a lint off, written so that this file does not look like one.
const EXCEPTIONS: [&str; 4] = ["#[allow(", "#![allow(", "#[expect(", "#![expect("];

pub(super) fn lint_exceptions(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        for (at, _) in EXCEPTIONS.iter().flat_map(|exception| file.code.match_indices(exception)) {
            let attribute = &file.code[at..file.code[at..].find(']').map_or(file.code.len(), |end| at + end)];
            if !attribute.contains("reason =") {
                let line = 1 + file.code[..at].matches('\n').count();
                found.push(Finding::new(file, line, "switches a lint off without `reason = \"…\"`"));
            }
        }
    }
    found.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    found
}

/// In the root manifest each outside dependency has a comment behind it; the members take theirs from there, so that
/// version and reason stand once.
pub(super) fn dependencies(tree: &Tree) -> Vec<Finding> {
    let manifests = tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    manifests.flat_map(|file| entries(file).filter_map(move |entry| entry.problem(file))).collect()
}

struct Entry<'a> {
    line: usize,
    text: &'a str,
    in_workspace: bool,
}

impl Entry<'_> {
    fn problem(&self, file: &File) -> Option<Finding> {
        let name = self.text.split(['=', '.', ' ']).next().unwrap_or_default();
        let message = if self.in_workspace {
            let ours = self.text.contains("path =");
            let said = self.text.split_once('#').is_some_and(|(_, reason)| !reason.trim().is_empty());
            (!ours && !said).then(|| format!("`{name}` has no comment that says what it is for"))
        } else {
            let inherited = self.text.contains(".workspace") || self.text.contains("workspace = true");
            (!inherited).then(|| format!("`{name}` is not taken from the workspace"))
        };
        message.map(|message| Finding::new(file, self.line, message))
    }
}

/// The lines of a manifest that begin a dependency.
fn entries(file: &File) -> impl Iterator<Item = Entry<'_>> {
    let mut section = "";
    file.text.lines().zip(1..).filter_map(move |(line, number)| {
        if line.starts_with('[') {
            section = line.trim_end_matches(']').trim_start_matches('[');
            return None;
        }
        let begins = line.starts_with(|c: char| c.is_ascii_alphabetic()) && line.contains('=');
        (section.ends_with("dependencies") && begins).then_some(Entry {
            line: number,
            text: line,
            in_workspace: section == "workspace.dependencies",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_without_a_reason_is_found() {
        let text = "#![allow(a::b, reason = \"because\")]\n#[allow(c)]\nfn f() {}\n#[expect(\n    d,\n    reason = \"r\"\n)]\n// #[allow(e)]\n#[expect(f)]\n";
        let found = lint_exceptions(&Tree::of(&[("a/src/lib.rs", text)]));
        assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [2, 9]);
    }

    #[test]
    fn a_dependency_without_a_reason_is_found() {
        let root = "[package]\nname = \"x\"\n[workspace.dependencies]\nours = { path = \"a\" }\nsaid = \"1\" # for x\nbare = \"1\"\nempty = \"1\" #\n[profile.dev]\ndebug = 1\n";
        let member = "[dependencies]\nsaid.workspace = true\nsaid = { workspace = true, features = [] }\nown = \"1\"\n[target.'cfg(unix)'.dev-dependencies]\nlate = \"2\"\n";
        let found = dependencies(&Tree::of(&[("Cargo.toml", root), ("a/Cargo.toml", member)]));
        let places: Vec<_> = found.iter().map(|f| (f.path.as_str(), f.line)).collect();
        assert_eq!(places, [("Cargo.toml", 6), ("Cargo.toml", 7), ("a/Cargo.toml", 4), ("a/Cargo.toml", 6)]);
    }
}

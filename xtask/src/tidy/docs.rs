//! Documentation that must be there: what a module guarantees, and a way to each design page.

use super::{Finding, Tree};

/// Modules under `src/` begin with `//!`; so do tests' own files where they are more than one idea, which nobody checks.
pub(super) fn module_docs(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .filter(|file| file.path.contains("src/") && !file.is_test())
        .filter(|file| !begins_with_docs(&file.text))
        .map(|file| Finding::new(file, 1, "does not begin with //!"))
        .collect()
}

fn begins_with_docs(text: &str) -> bool {
    text.lines().map(str::trim).find(|line| !line.is_empty()).is_some_and(|line| line.starts_with("//!"))
}

pub(super) fn design_pages_linked(tree: &Tree) -> Vec<Finding> {
    let index = tree.file("docs/README.md").map_or("", |file| file.text.as_str());
    tree.files
        .iter()
        .filter(|file| file.path.starts_with("docs/design/") && file.path.ends_with(".md"))
        .filter(|file| !index.contains(&format!("({})", file.path.trim_start_matches("docs/"))))
        .map(|file| Finding::new(file, 0, "docs/README.md has no link to it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_docs_is_found() {
        let tree = Tree::of(&[
            ("a/src/bare.rs", "/// An item.\nfn f() {}"),
            ("a/src/said.rs", "//! What it guarantees.\n"),
            ("a/src/x_tests.rs", "use super::*;"),
            ("a/tests/end.rs", "use a::*;"),
        ]);
        assert_eq!(module_docs(&tree).iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a/src/bare.rs"]);
    }

    #[test]
    fn a_design_page_without_a_link_is_found() {
        let pages = [("docs/design/a.md", ""), ("docs/design/b.md", "")];
        let index = ("docs/README.md", "[a](design/a.md), not b: design/b.md");
        let found = design_pages_linked(&Tree::of(&[pages[0], pages[1], index]));
        assert_eq!(found.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["docs/design/b.md"]);
        assert_eq!(design_pages_linked(&Tree::of(&pages)).len(), 2, "no index, no links");
    }
}

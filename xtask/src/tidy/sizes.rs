//! Sizes that keep code readable: a function fits a screen, a file is one idea.

use super::{Finding, Tree, source};

const FUNCTION_LINES: usize = 70;
const FILE_LINES: usize = 500;
/// Longer files are listed, so that they are split before they must be.
pub(super) const MOST_FILE_LINES: usize = 400;

pub(super) fn long_functions(tree: &Tree) -> Vec<Finding> {
    tree.rust()
        .flat_map(|file| source::functions(&file.code).into_iter().map(move |function| (file, function)))
        .filter(|(_, function)| function.lines > FUNCTION_LINES)
        .map(|(file, function)| {
            Finding::new(file, function.line, format!("`{}` has {} lines", function.name, function.lines))
        })
        .collect()
}

pub(super) fn long_files(tree: &Tree) -> Vec<Finding> {
    let sized = tree.rust().map(|file| (file, file.text.lines().count()));
    sized
        .filter(|(_, lines)| *lines > FILE_LINES)
        .map(|(file, lines)| Finding::new(file, 0, format!("{lines} lines")))
        .collect()
}

/// Files that are allowed but longer than most.
pub(super) fn growing_files(tree: &Tree) -> Vec<(&str, usize)> {
    let sized = tree.rust().map(|file| (file.path.as_str(), file.text.lines().count()));
    sized.filter(|(_, lines)| (MOST_FILE_LINES + 1..=FILE_LINES).contains(lines)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_71_lines_is_too_long() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    g();\n".repeat(lines - 2));
        let tree = Tree::of(&[("a/src/long.rs", &function(71)), ("a/src/fits.rs", &function(70))]);
        let found = long_functions(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].path.as_str(), found[0].line), ("a/src/long.rs", 1));
    }

    #[test]
    fn a_file_of_501_lines_is_too_long_and_one_of_401_is_listed() {
        let (long, growing, fits) = ("\n".repeat(501), "\n".repeat(401), "\n".repeat(400));
        let tree =
            Tree::of(&[("long.rs", &long), ("growing.rs", &growing), ("fits.rs", &fits), ("a.md", &long)]);
        assert_eq!(long_files(&tree).iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["long.rs"]);
        assert_eq!(growing_files(&tree), [("growing.rs", 401)]);
    }
}

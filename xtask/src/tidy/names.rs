//! Names: of files and modules, which must say something, and of places, which must not be in the project.

use super::{Finding, Tree};

/// Words that say where code ended up instead of what it does.
const EMPTY_WORDS: [&str; 7] = ["util", "utils", "helper", "helpers", "manager", "common", "misc"];

/// Paths of the machine that a file was written on; each must begin a path to count.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/.")];

/// Hosts of registries: which one is used is for the machine that builds to say.
const REGISTRY_HOSTS: [&str; 7] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
    concat!("files.", "pythonhosted.org"),
    concat!("registry-1.", "docker.io"),
    concat!("deb.", "debian.org"),
];

pub(super) fn empty_names(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    for file in tree.rust() {
        for part in file.path.split('/') {
            let stem = part.trim_end_matches(".rs");
            if is_empty(stem) {
                found.push(Finding::new(file, 0, format!("`{stem}` says nothing about what is inside")));
            }
        }
        for (line, number) in file.code.lines().zip(1..) {
            let words: Vec<&str> = line.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            let named = words.windows(2).find(|pair| pair[0] == "mod" && is_empty(pair[1]));
            if let Some(pair) = named {
                found.push(Finding::new(
                    file,
                    number,
                    format!("`mod {}` says nothing about what is inside", pair[1]),
                ));
            }
        }
    }
    found
}

/// One of the words, alone or as a part: `pool_manager`.
fn is_empty(name: &str) -> bool {
    name.split(['_', '-']).any(|part| EMPTY_WORDS.contains(&part))
}

pub(super) fn places(tree: &Tree) -> Vec<Finding> {
    let mut found = Vec::new();
    // The lock file names the registry by the tool's own convention.
    for file in tree.files.iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (line, number) in file.text.lines().zip(1..) {
            let paths = MACHINE_PATHS.iter().filter(|path| begins_a_path(line, path));
            let hosts = REGISTRY_HOSTS.iter().filter(|host| line.contains(**host));
            for place in paths.chain(hosts) {
                found.push(Finding::new(file, number, format!("`{place}` is a place outside the project")));
            }
        }
    }
    found
}

fn begins_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && !matches!(c, '_' | '-' | '.' | '}' | ')'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_say_nothing_are_found() {
        let tree = Tree::of(&[
            ("a/src/utils.rs", ""),
            ("a/src/pool_manager.rs", ""),
            ("a/src/common/mod.rs", ""),
            ("a/src/lib.rs", "mod helpers {}\n// mod misc;\nmod manageress;"),
        ]);
        let found: Vec<_> = empty_names(&tree).into_iter().map(|f| (f.path, f.line)).collect();
        let expected = [
            ("a/src/utils.rs", 0),
            ("a/src/pool_manager.rs", 0),
            ("a/src/common/mod.rs", 0),
            ("a/src/lib.rs", 1),
        ];
        assert_eq!(found, expected.map(|(path, line)| (path.to_owned(), line)));
    }

    #[test]
    fn places_are_found_where_they_begin_a_path() {
        let (home, host) = (MACHINE_PATHS[0], REGISTRY_HOSTS[0]);
        let text = format!("cd {home}main\nartifacts{home}x\n{{dir}}{home}x\nhttps://{host}/x\n");
        let lock = format!("registry {host}");
        let tree = Tree::of(&[("README.md", &text), ("Cargo.lock", &lock)]);
        assert_eq!(places(&tree).iter().map(|f| f.line).collect::<Vec<_>>(), [1, 4]);
    }
}

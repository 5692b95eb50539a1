//! The real parts that tests run against: which there are, where they are, and how they get onto a Debian machine.
//!
//! Tests start their own private servers; this only makes sure that the programs exist. Services that a package would
//! start by itself are kept from starting, so that nothing listens that nobody asked for.

use std::{
    env, fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, process};

/// Something real that tests need.
pub(crate) struct Part {
    pub(crate) name: &'static str,
    /// All of these must be found.
    programs: &'static [&'static str],
    /// Debian's package that brings them.
    package: &'static str,
    /// Names a server that runs already and is used instead.
    url: Option<&'static str>,
}

/// Every real part.
pub(crate) const PARTS: &[Part] = &[
    Part {
        name: "PostgreSQL",
        programs: &["initdb", "postgres", "psql"],
        package: "postgresql",
        url: Some("CUTOVER_TEST_POSTGRES_URL"),
    },
    Part {
        name: "MariaDB",
        programs: &["mariadbd", "mariadb-install-db", "mariadb"],
        package: "mariadb-server",
        url: Some("CUTOVER_TEST_MYSQL_URL"),
    },
    Part { name: "PgBouncer", programs: &["pgbouncer"], package: "pgbouncer", url: None },
    Part { name: "git", programs: &["git"], package: "git", url: None },
];

impl Part {
    fn is_here(&self, folders: &[PathBuf]) -> bool {
        let given = self.url.is_some_and(|name| env::var_os(name).is_some_and(|url| !url.is_empty()));
        given || self.programs.iter().all(|program| folders.iter().any(|folder| runs(&folder.join(program))))
    }

    /// Its name and how to get it.
    pub(crate) fn advice(&self) -> String {
        let url = self.url.map_or(String::new(), |name| format!(", or a server's URL in {name}"));
        format!(
            "{} ({} on PATH: Debian's package {}{url})",
            self.name,
            self.programs.join(", "),
            self.package
        )
    }
}

/// Installs what is missing where that is possible, and returns what is missing still.
///
/// # Errors
/// The package manager ran and failed.
pub(crate) fn provide() -> Result<Vec<&'static Part>, Failure> {
    let missing = missing();
    if missing.is_empty() || !is_root() || !is_debian() {
        return Ok(missing);
    }
    let packages: Vec<&str> = missing.iter().map(|part| part.package).collect();
    let quiet = NoServices::begin().map_err(|source| Failure::File { path: POLICY.into(), source })?;
    process::run(apt().arg("update"))?;
    process::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))?;
    drop(quiet);
    Ok(self::missing())
}

fn missing() -> Vec<&'static Part> {
    let folders = folders();
    PARTS.iter().filter(|part| !part.is_here(&folders)).collect()
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    // Another installation may hold the lock for a while.
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]).env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// PATH, and where Debian keeps what it does not put there.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    folders.extend(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    folders
}

/// True where `program`, found as the parts are, is installed.
pub(crate) fn is_installed(program: &str) -> bool {
    folders().iter().any(|folder| runs(&folder.join(program)))
}

fn runs(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

fn is_debian() -> bool {
    Path::new("/etc/debian_version").exists()
}

/// Debian asks this program before a package starts its service; 101 means no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Tells our policy from one that somebody else has set.
const OUR_POLICY: &str = "#!/bin/sh\n# Written by cargo xtask test while it installs packages.\nexit 101\n";

/// While it lives, packages start no services. A policy that was there before is left alone, unless it is our own from a
/// time that was interrupted.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> io::Result<Self> {
        let theirs = fs::read(POLICY).is_ok_and(|policy| policy != OUR_POLICY.as_bytes());
        if theirs {
            return Ok(Self { ours: false });
        }
        fs::write(POLICY, OUR_POLICY)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("xtask: can't remove {POLICY}: {error}; remove it, or packages will start no services");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_needs_all_its_programs() {
        let folder = tempfile::tempdir().unwrap();
        let part = Part { name: "Two", programs: &["one", "two"], package: "both", url: None };
        let folders = [folder.path().to_owned()];
        for program in ["one", "two"] {
            assert!(!part.is_here(&folders));
            fs::write(folder.path().join(program), "").unwrap();
            assert!(!part.is_here(&folders), "a file that can't be run is no program");
            fs::set_permissions(folder.path().join(program), fs::Permissions::from_mode(0o755)).unwrap();
        }
        assert!(part.is_here(&folders));
    }
}

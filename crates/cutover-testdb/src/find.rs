//! Where the servers' programs are.

use std::path::{Path, PathBuf};

/// A program on `PATH`, or where distributions keep servers.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// A PostgreSQL server program: Debian keeps each version in a folder of its own; the newest is taken.
pub(crate) fn postgres_program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin").join(name)))
        })
        .filter(|(_, file)| file.is_file())
        .collect();
    found.sort();
    found.pop().map(|(_, file)| file).or_else(|| program(name))
}

/// The user a server is run as: servers refuse root. `None` when we are not root and run it as ourselves.
pub(crate) fn server_user(preferred: &str) -> Option<String> {
    let root = rooted();
    let known = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let exists = |user: &str| known.lines().any(|line| line.starts_with(&format!("{user}:")));
    root.then(|| if exists(preferred) { preferred.to_owned() } else { "nobody".to_owned() })
}

fn rooted() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|self_| self_.uid() == 0)
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a loopback port is free");
    listener.local_addr().expect("a bound socket has an address").port()
}

/// Gives a folder to the user the server is run as.
pub(crate) fn give(dir: &Path, user: Option<&str>) {
    if let Some(user) = user {
        crate::must(std::process::Command::new("chown").arg("-R").arg(user).arg(dir));
    }
}

//! Starting a server so that it can't outlive the test process, however that ends.

use std::{
    ffi::OsString,
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Waits for the end of its input, which is a pipe that only the test process holds; then stops the server.
const WATCH: &str = r#"signal=$1; dir=$2; shift 2
"$@" </dev/null & server=$!
read -r _
kill "-$signal" "$server" 2>/dev/null
wait "$server"
rm -rf "$dir""#;

/// A server with its supervisor. The pipe in it is what keeps the server alive.
#[derive(Debug)]
pub(crate) struct Supervised {
    _shell: Child,
}

/// A program and arguments, prefixed so that it runs as `user` where that is needed.
pub(crate) fn as_user(user: Option<&str>, program: &Path, arguments: &[String]) -> Vec<OsString> {
    let mut line: Vec<OsString> = Vec::new();
    if let Some(user) = user {
        for word in ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--"] {
            line.push(word.into());
        }
    }
    line.push(program.into());
    line.extend(arguments.iter().map(OsString::from));
    line
}

/// Starts a server; `signal` stops it, and then `dir` is removed. Output goes to `dir/log`.
pub(crate) fn start(line: &[OsString], dir: &Path, signal: &str) -> Result<Supervised, String> {
    let log =
        File::create(dir.join("log")).map_err(|error| format!("no log in {}: {error}", dir.display()))?;
    let errors = log.try_clone().map_err(|error| error.to_string())?;
    let shell = Command::new("sh")
        .args(["-c", WATCH, "sh", signal])
        .arg(dir)
        .args(line)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(log)
        .stderr(errors)
        // An interrupt typed at the terminal ends the test process; the server is ended by the pipe, in order.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("sh can't be started: {error}"))?;
    Ok(Supervised { _shell: shell })
}

/// Asks until the server answers, for at most a minute.
pub(crate) fn until_ready(dir: &Path, mut ready: impl FnMut() -> bool) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            return Err(format!("the server in {} did not answer within a minute: {log}", dir.display()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A private directory that is removed by the supervisor and not by us.
pub(crate) fn directory(kind: &str) -> Result<std::path::PathBuf, String> {
    let dir = tempfile::Builder::new().prefix(&format!("cutover-{kind}-")).tempdir();
    let dir = dir.map_err(|error| format!("no temporary directory: {error}"))?.keep();
    // Another user's server must be able to enter it.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755))
        .map_err(|error| error.to_string())?;
    Ok(dir)
}

//! Where a host listens: TCP for the fleets' gates, a Unix socket for its own API.
//!
//! A socket that systemd passes (`LISTEN_FDS`) is used where its address is the one wanted; it stays open while the
//! host restarts, so that no connection is refused. Sockets are never inherited by replicas.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use listenfd::ListenFd;
use rustix::fs::{Mode, OFlags};

/// The longest path of a Unix socket that the kernel takes, in bytes.
const LONGEST_PATH: usize = 107;

/// Why a fleet's address can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error("{address} can't be listened on: {cause}{}", hint(cause))]
pub(crate) struct NotBound {
    address: SocketAddr,
    cause: io::Error,
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process or fleet has it: stop that one or choose another `listen`"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege, or a socket from systemd",
        io::ErrorKind::AddrNotAvailable => "; this machine has no such address",
        _ => "",
    }
}

/// Listening sockets that others have opened for this host.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    inherited: Mutex<Vec<TcpListener>>,
}

impl Sockets {
    /// The sockets that systemd has passed to this process, if any; the TCP ones, and the first Unix one. Takes them out of
    /// the environment.
    pub(crate) fn from_systemd() -> (Self, Option<UnixListener>) {
        let mut passed = ListenFd::from_env();
        let (mut tcp, mut unix) = (Vec::new(), None);
        for index in 0..passed.len() {
            if let Ok(Some(listener)) = passed.take_tcp_listener(index) {
                tcp.push(listener);
            } else if let Ok(Some(listener)) = passed.take_unix_listener(index) {
                unix.get_or_insert(listener);
            }
        }
        (Self::new(tcp), unix)
    }

    pub(crate) fn new(inherited: Vec<TcpListener>) -> Self {
        Self { inherited: Mutex::new(inherited) }
    }

    /// The inherited socket of that address, or a new one.
    pub(crate) fn bind(&self, address: SocketAddr) -> Result<TcpListener, NotBound> {
        let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            inherited.iter().position(|listener| listener.local_addr().is_ok_and(|own| own == address));
        match found {
            Some(position) => Ok(inherited.swap_remove(position)),
            None => TcpListener::bind(address).map_err(|cause| NotBound { address, cause }),
        }
    }
}

/// Listens on a path that only this user can reach, also one that is too long for a socket's address. A file that is in
/// the way is replaced: who calls this holds the state directory's lock, so nobody listens there.
pub(crate) fn listen_privately(path: &Path) -> io::Result<UnixListener> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let Some(directory) = directory {
        crate::durable::private_directory(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let bound = with_short_path(path, UnixListener::bind);
    rustix::process::umask(before);
    bound
}

/// Connects to a path, also one that is too long for a socket's address.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    with_short_path(path, UnixStream::connect)
}

/// A path beyond the kernel's limit is reached through its directory's descriptor.
fn with_short_path<T>(path: &Path, with: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().as_bytes().len() <= LONGEST_PATH {
        return with(path.to_owned());
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other(format!("{} is not a socket's path", path.display())));
    };
    let opened =
        rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = Path::new("/proc/self/fd").join(opened.as_raw_fd().to_string()).join(name);
    if short.as_os_str().as_bytes().len() > LONGEST_PATH {
        return Err(io::Error::other(format!(
            "the socket's name {} is too long: a socket's address holds {LONGEST_PATH} bytes",
            name.display()
        )));
    }
    with(short)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn an_inherited_socket_is_used_once_where_the_address_is_the_same() {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = first.local_addr().unwrap();
        let sockets = Sockets::new(vec![first]);
        let own = sockets.bind(address).unwrap();
        assert_eq!(own.local_addr().unwrap(), address);
        let taken = sockets.bind(address).unwrap_err().to_string();
        assert!(taken.contains("another process or fleet has it"), "{taken}");
    }

    #[test]
    fn long_paths_work_and_hopeless_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("d".repeat(100)).join("host.sock");
        let _listener = listen_privately(&path).unwrap();
        connect(&path).unwrap();
        let modes =
            [&path, path.parent().unwrap()].map(|path| path.metadata().unwrap().permissions().mode() & 0o777);
        assert_eq!(modes, [0o700, 0o700]);
        let error = listen_privately(&dir.path().join("s".repeat(108))).unwrap_err().to_string();
        assert!(error.contains("too long"), "{error}");
    }
}

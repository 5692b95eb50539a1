//! Whether traffic is safe: the process runs, the database answers, and the schema is the one this code was made for.

use std::{fs, io, path::Path, time::Duration};

use crate::{log::say, store::Store};

/// How long the database may take to answer; slower counts as not ready.
const PATIENCE: Duration = Duration::from_secs(1);

/// The newest migration this commit came with. The ledger may know newer ones: old code keeps working while they are
/// expand migrations, which is what lets a release be rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SchemaHead(i64);

impl SchemaHead {
    /// Of a folder of sqlx migrations, `VERSION_name.sql`. A service with contract migrations would leave those out,
    /// since they run after its code; this one has none.
    pub(crate) fn of(folder: &Path) -> io::Result<Self> {
        let mut newest = 0;
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let version =
                name.to_str().and_then(|name| name.split_once('_')).map(|(version, _)| version.parse());
            if let Some(Ok(version)) = version {
                newest = newest.max(version);
            }
        }
        Ok(Self(newest))
    }
}

/// True while traffic is safe. One indexed read; whatever goes wrong, the answer is no.
pub(crate) async fn is_ready(store: &Store, head: SchemaHead) -> bool {
    match tokio::time::timeout(PATIENCE, store.has_migration(head.0)).await {
        Ok(Ok(known)) => known,
        Ok(Err(error)) => {
            say(format_args!("not ready: {error}"));
            false
        }
        Err(_) => {
            say(format_args!("not ready: the database took longer than {PATIENCE:?}"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_the_newest_migration() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
        assert_eq!(SchemaHead::of(&folder).unwrap(), SchemaHead(20_260_112_090_000));
    }
}

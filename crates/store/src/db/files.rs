//! Where a database in SQLite lies.

use super::is_postgres;
use sqlx::sqlite::SqliteConnectOptions;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr as _;

/// The file of a database in SQLite; none for others, and for one in memory.
#[must_use]
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    if is_postgres(url) || url.contains(":memory:") {
        return None;
    }
    let options = SqliteConnectOptions::from_str(url).ok()?;
    let file = options.get_filename();
    (!url.contains("mode=memory")).then(|| file.to_owned())
}

/// Makes the file of a database that is not there yet, for its owner only; SQLite makes the files beside it alike. A
/// folder that is not there is made so, too.
pub(super) fn make_private(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file
        .parent()
        .filter(|folder| !folder.exists() && *folder != Path::new(""))
    {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600);
    match options.open(file) {
        // What cannot be written is for SQLite to tell.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened.map(drop),
    }
}

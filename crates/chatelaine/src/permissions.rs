//! Who else on this machine can read what the server keeps: nobody should. Files are made so; `doctor` tells of those that are
//! older, or were copied.

use crate::config::Config;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// What others can read or enter, with what to do about it.
pub(crate) fn concerns(config: &Config) -> io::Result<Vec<String>> {
    let mut files = vec![config.audit_digest_file(), config.mark_file()];
    if config.master_key.is_none() {
        files.push(config.master_key_file.clone());
    }
    if !config.next_master_key_file.as_os_str().is_empty() {
        files.push(config.next_master_key_file.clone());
    }
    let mut concerns = Vec::new();
    if let Some(database) = store::sqlite_file(&config.database_url) {
        let folder = match database.parent() {
            Some(folder) if folder != Path::new("") => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        concerns.extend(concern(&folder, 0o700)?);
        for end in ["", "-wal", "-shm"] {
            let mut name = database.clone().into_os_string();
            name.push(end);
            files.push(name.into());
        }
    }
    for file in files {
        concerns.extend(concern(&file, 0o600)?);
    }
    Ok(concerns)
}

fn concern(path: &Path, wanted: u32) -> io::Result<Option<String>> {
    let mode = match std::fs::metadata(path) {
        Ok(found) => found.permissions().mode() & 0o777,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let open = mode & 0o077 != 0;
    Ok(open.then(|| {
        format!(
            "{} has mode {mode:04o}: others on this machine may use it; `chmod {wanted:o}` it",
            path.display()
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, set_permissions};

    #[tokio::test]
    async fn what_the_server_keeps_is_its_owners_and_doctor_tells_what_is_not() {
        let folder = std::env::temp_dir().join(wire::OrgId::fresh().to_string());
        let inner = folder.join("data");
        let config = Config {
            database_url: format!("sqlite:{}", inner.join("store.db").display()),
            audit_digest_file: inner.join("digests"),
            master_key_file: inner.join("key"),
            ..Config::default()
        };
        let key = store::MasterKey::generate().unwrap();
        let store = crate::setup::open_with(&config, &key, (store::Clock::system(), store::Upgrade::Always))
            .await
            .unwrap();
        crate::config::write_secret(&config.master_key_file, &key.to_text()).unwrap();
        let keyring = tokens::Keyring::load(&store).await.unwrap();
        let owner = ("owner@acme.example", "a password of some length");
        crate::setup::organisation(&store, &keyring, ("Acme", "acme"), owner)
            .await
            .unwrap();
        let mut digests = store::audit::DigestFile::open(config.audit_digest_file(), &store).unwrap();
        digests.write(&store).await.unwrap();
        let names = ["store.db", "store.db-wal", "store.db-shm", "digests", "key"];
        for name in names {
            let mode = std::fs::metadata(inner.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let mode = std::fs::metadata(&inner).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert_eq!(concerns(&config).unwrap(), Vec::<String>::new());
        for name in names {
            set_permissions(inner.join(name), Permissions::from_mode(0o640)).unwrap();
        }
        set_permissions(&inner, Permissions::from_mode(0o755)).unwrap();
        let told = concerns(&config).unwrap();
        assert_eq!(told.len(), 6, "{told:?}");
        assert!(told.iter().all(|text| text.contains("chmod")), "{told:?}");
        store.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }
}

//! A place of an operator's: a folder with a key, a database, and the binary.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use testkit::Database;

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) ok: bool,
    /// Both outputs.
    pub(crate) said: String,
}

impl Done {
    /// What it said, of a command that succeeded.
    #[track_caller]
    pub(crate) fn well(self) -> String {
        assert!(self.ok, "{}", self.said);
        self.said
    }

    /// What it said, of one that refused.
    #[track_caller]
    pub(crate) fn refused(self) -> String {
        assert!(!self.ok, "{}", self.said);
        self.said
    }
}

pub(crate) struct Place {
    pub(crate) folder: PathBuf,
    pub(crate) database: Database,
    pub(crate) key: PathBuf,
    /// Further settings.
    pub(crate) settings: Vec<(&'static str, String)>,
}

impl Place {
    pub(crate) fn new(database: Database) -> Self {
        let folder = std::env::temp_dir().join(wire::EventId::fresh().to_string());
        std::fs::create_dir(&folder).unwrap();
        Self {
            key: folder.join("key"),
            folder,
            database,
            settings: Vec::new(),
        }
    }

    /// One of each engine, with an organisation.
    pub(crate) async fn each() -> Vec<Self> {
        let mut places = Vec::new();
        for (_, database) in testkit::databases().await {
            let place = Self::new(database);
            let who = [
                "--organisation",
                "Acme",
                "--slug",
                "acme",
                "--owner",
                "owner@acme.example",
            ];
            place.run(&[&["setup"], who.as_slice()].concat()).well();
            places.push(place);
        }
        places
    }

    /// An empty place of each engine with the same key.
    pub(crate) async fn others(&self) -> Vec<Self> {
        let mut places = Vec::new();
        for (_, database) in testkit::databases().await {
            let place = Self::new(database);
            std::fs::copy(&self.key, &place.key).unwrap();
            places.push(place);
        }
        places
    }

    pub(crate) fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.folder.join("one.mark")
    }

    /// The file of the database, where it is one.
    pub(crate) fn file(&self) -> Option<&Path> {
        self.database.url.strip_prefix("sqlite:").map(Path::new)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatelaine"));
        command
            .args(args)
            .env("CHATELAINE_DATABASE_URL", &self.database.url)
            .env("CHATELAINE_MASTER_KEY_FILE", &self.key)
            .env("CHATELAINE_AUDIT_DIGEST_FILE", self.folder.join("one.digests"))
            .env("CHATELAINE_LISTEN", "[\"127.0.0.1:0\"]")
            .env("CHATELAINE_SHUTDOWN_SECONDS", "1")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.folder);
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        let output = self.command(args).output().unwrap();
        Done {
            ok: output.status.success(),
            said: String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        }
    }

    /// Begins a command that is left alone.
    pub(crate) fn begin(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// A server that has begun to serve, as its mark shows.
    pub(crate) fn serve(&self) -> Running {
        let _ = std::fs::remove_file(self.mark());
        let running = Running(self.begin(&["serve"]));
        let began = Instant::now();
        while !self.mark().exists() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "the server did not begin"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }

    pub(crate) async fn remove(self) {
        std::fs::remove_dir_all(self.folder).unwrap();
        self.database.remove().await;
    }
}

/// Killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// Asks it to stop, as service managers do.
    pub(crate) fn terminate(&self) {
        let pid = self.0.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Whether it stopped by itself, and well, within a while.
    pub(crate) fn stops_within(&mut self, patience: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < patience {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

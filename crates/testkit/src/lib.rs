//! Development only. Tests of every crate run on a fresh database of each engine that is there: SQLite
//! always, PostgreSQL when `TEST_DATABASE_URL` names a server on which databases can be made.
//!
//! What a crate's tests put into the database is theirs to say; here is only what all of them need.

#![expect(clippy::missing_panics_doc, reason = "test support panics where a test would")]
#![expect(clippy::unwrap_used, reason = "test support panics where a test would")]

use serde::de::DeserializeOwned;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use store::{Clock, MasterKey, Options, Result, Store};
use wire::{OrgId, Timestamp};

/// Where time begins in tests.
pub const START: Timestamp = Timestamp::from_seconds(1_800_000_000);
/// The control plane's public URL in tests.
pub const CONTROL: &str = "https://control.example.com";

/// An empty database of one engine.
pub struct Database {
    /// `sqlite:` or `postgres:`.
    pub url: String,
    home: Home,
}

enum Home {
    Folder(PathBuf),
    Server(String, String),
}

/// One empty database of each engine that is there, with the engine's name.
pub async fn databases() -> Vec<(&'static str, Database)> {
    let unique = OrgId::fresh().to_string().replace("org_", "test_");
    let folder = std::env::temp_dir().join(&unique);
    std::fs::create_dir(&folder).unwrap();
    let url = format!("sqlite:{}", folder.join("store.db").display());
    let home = Home::Folder(folder);
    let mut databases = vec![("SQLite", Database { url, home })];
    if let Ok(server) = std::env::var("TEST_DATABASE_URL") {
        on_server(&server, format!("CREATE DATABASE {unique}")).await;
        let (base, options) = server.split_once('?').unwrap_or((&server, ""));
        let base = &base[..base.rfind('/').filter(|at| *at > 12).unwrap_or(base.len())];
        let url = format!("{base}/{unique}?{options}");
        let home = Home::Server(server.clone(), unique);
        databases.push(("PostgreSQL", Database { url, home }));
    }
    databases
}

async fn on_server(server: &str, sql: String) {
    let mut connection = PgConnection::connect(server).await.unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
}

static MEASURES: AtomicBool = AtomicBool::new(false);

/// Has this process do only what a server does: its statements are not explained, nor their steps counted. For what
/// measures time.
pub fn measure() {
    MEASURES.store(true, Ordering::Relaxed);
}

/// Runs SQL on the database of a URL, behind the back of any store on it, and says how many rows it touched.
pub async fn execute(url: &str, sql: &str) -> u64 {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite") {
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        connection.execute(sql).await.unwrap().rows_affected()
    } else {
        let mut connection = PgConnection::connect(url).await.unwrap();
        connection.execute(sql).await.unwrap().rows_affected()
    }
}

impl Database {
    /// Opens a store on the database: one instance of possibly several.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open(&self, key: &MasterKey, clock: &Clock) -> Result<Store> {
        self.open_at(CONTROL, key, clock).await
    }

    /// The same with another public URL of the control plane.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn open_at(&self, control_url: &str, key: &MasterKey, clock: &Clock) -> Result<Store> {
        let options = Options {
            control_url,
            ..self.options(key, clock)
        };
        Store::open(options).await
    }

    /// What a store on the database is opened with.
    #[must_use]
    pub fn options<'a>(&'a self, key: &'a MasterKey, clock: &Clock) -> Options<'a> {
        if !MEASURES.load(Ordering::Relaxed) {
            store::explain_statements();
        }
        Options {
            database_url: &self.url,
            master_key: key,
            clock: clock.clone(),
            control_url: CONTROL,
            pools: store::Pools::default(),
        }
    }

    /// What the server calls it, on PostgreSQL.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.home {
            Home::Server(_, name) => Some(name),
            Home::Folder(_) => None,
        }
    }

    /// Whether it is PostgreSQL's.
    #[must_use]
    pub const fn is_postgres(&self) -> bool {
        matches!(self.home, Home::Server(..))
    }

    /// Runs SQL behind the store's back and says how many rows it touched.
    pub async fn execute(&self, sql: &str) -> u64 {
        execute(&self.url, sql).await
    }

    /// Takes the database away.
    pub async fn remove(self) {
        match self.home {
            Home::Folder(folder) => std::fs::remove_dir_all(folder).unwrap(),
            Home::Server(server, name) => {
                on_server(&server, format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
        }
    }
}

/// A spec or resource from its JSON form, defaults filled in as the API would.
pub fn from_json<T: DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).unwrap()
}

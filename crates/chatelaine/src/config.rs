//! Configuration: one TOML file and `CHATELAINE_*` variables on top; unknown keys are refused, and without
//! any file the defaults run.

mod words;

use crate::context::ForwardedHeader;
use anyhow::{Context as _, bail};
use broker::mail::{Mailer, Transport};
use control::AtOnce;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use ipnet::IpNet;
use outbound::Allowed;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use store::{MasterKey, Pools};

/// Everything that can be configured; `config.example.toml` explains each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) public_url: String,
    pub(crate) listen: Vec<String>,
    pub(crate) database_url: String,
    pub(crate) database_connections: Connections,
    pub(crate) master_key_file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) master_key: Option<String>,
    /// The one that comes after it, while it is being changed; empty otherwise.
    pub(crate) next_master_key_file: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_master_key: Option<String>,
    /// Empty: beside the database, or in the working folder.
    pub(crate) audit_digest_file: PathBuf,
    /// Empty: beside the digests.
    pub(crate) mark_file: PathBuf,
    #[serde(deserialize_with = "words::networks")]
    pub(crate) trusted_proxies: Vec<IpNet>,
    pub(crate) forwarded_header: ForwardedHeader,
    pub(crate) log: String,
    pub(crate) log_format: LogFormat,
    pub(crate) shutdown_seconds: u64,
    /// How long a server that is stopped goes on serving, not ready, before it takes no more connections.
    pub(crate) drain_seconds: u64,
    pub(crate) max_connections: usize,
    pub(crate) max_connections_of_one: usize,
    pub(crate) allow_internal: Vec<String>,
    pub(crate) metadata_documents: Documents,
    /// How often a provider is asked about each person, in seconds.
    pub(crate) ask_providers_seconds: u64,
    pub(crate) mail: Mail,
    pub(crate) at_once: Costly,
}

/// Whether metadata documents of agents are fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Documents {
    Auto,
    On,
    Off,
}

impl From<Documents> for oauth::Fetching {
    fn from(documents: Documents) -> Self {
        match documents {
            Documents::Auto => Self::Auto,
            Documents::On => Self::On,
            Documents::Off => Self::Off,
        }
    }
}

/// How many connections to the database there may be for each kind of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Connections {
    pub(crate) hot: u32,
    pub(crate) control: u32,
    pub(crate) report: u32,
}

impl Default for Connections {
    fn default() -> Self {
        let Pools { hot, control, report } = Pools::default();
        Self { hot, control, report }
    }
}

impl From<Connections> for Pools {
    fn from(Connections { hot, control, report }: Connections) -> Self {
        Self { hot, control, report }
    }
}

/// How much that costs much goes on at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Costly {
    pub(crate) previews: usize,
    pub(crate) testers: usize,
    pub(crate) exports: usize,
}

impl Default for Costly {
    fn default() -> Self {
        let AtOnce {
            previews,
            testers,
            exports,
        } = AtOnce::default();
        Self {
            previews,
            testers,
            exports,
        }
    }
}

impl From<Costly> for AtOnce {
    fn from(
        Costly {
            previews,
            testers,
            exports,
        }: Costly,
    ) -> Self {
        Self {
            previews,
            testers,
            exports,
        }
    }
}

/// How mail leaves the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Mail {
    pub(crate) transport: MailTransport,
    pub(crate) from: String,
    /// For `smtp`; may hold a password.
    pub(crate) url: String,
    /// For `file`.
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MailTransport {
    None,
    Smtp,
    File,
    Log,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            transport: MailTransport::None,
            from: String::new(),
            url: String::new(),
            directory: PathBuf::new(),
        }
    }
}

impl Mail {
    pub(crate) fn mailer(&self, clock: store::Clock) -> anyhow::Result<Mailer> {
        let transport = match self.transport {
            MailTransport::None => Transport::None,
            MailTransport::Log => Transport::Log,
            MailTransport::File => Transport::File(self.directory.clone()),
            MailTransport::Smtp => Transport::Smtp(self.url.clone()),
        };
        Mailer::new(&transport, &self.from, clock).context("the configuration is not acceptable")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    Text,
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            public_url: "http://127.0.0.1:7400".into(),
            listen: vec!["127.0.0.1:7400".into()],
            database_url: "sqlite:chatelaine.db".into(),
            database_connections: Connections::default(),
            master_key_file: "chatelaine.key".into(),
            master_key: None,
            next_master_key_file: PathBuf::new(),
            next_master_key: None,
            audit_digest_file: PathBuf::new(),
            mark_file: PathBuf::new(),
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            log: "info".into(),
            log_format: LogFormat::Text,
            shutdown_seconds: 30,
            drain_seconds: 0,
            max_connections: 10_000,
            max_connections_of_one: 1000,
            allow_internal: Vec::new(),
            metadata_documents: Documents::Auto,
            ask_providers_seconds: 3600,
            mail: Mail::default(),
            at_once: Costly::default(),
        }
    }
}

/// Names that look like settings but are read elsewhere.
const NOT_SETTINGS: [&str; 6] = ["config", "demo_journal", "url", "token", "profile", "plain_http"];

/// A path as it is meant: from the folder in which the command was started.
fn in_full(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

impl Config {
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            anyhow::ensure!(file.exists(), "no configuration file at {}", file.display());
            figment = figment.merge(Toml::file_exact(file));
        }
        let env = Env::prefixed("CHATELAINE_").ignore(&NOT_SETTINGS).split("__");
        let mut config: Self = figment.merge(env).extract().map_err(|error| words::say(&error))?;
        let length = config.public_url.trim_end_matches('/').len();
        config.public_url.truncate(length);
        let url = url::Url::parse(&config.public_url).context("public_url is not a URL")?;
        anyhow::ensure!(
            matches!(url.scheme(), "http" | "https") && url.path() == "/" && url.query().is_none(),
            "public_url must be an origin: scheme, host and port only"
        );
        anyhow::ensure!(!config.listen.is_empty(), "listen names no address");
        for address in &config.listen {
            anyhow::ensure!(
                words::is_place(address),
                "listen: {address:?} is not an address and a port, such as 127.0.0.1:7400 or [::]:7400"
            );
        }
        config.allowed()?;
        let Connections { hot, control, report } = config.database_connections;
        anyhow::ensure!(
            [hot, control, report].iter().all(|n| (1..=500).contains(n)),
            "database_connections: from 1 to 500 of each kind"
        );
        let Costly {
            previews,
            testers,
            exports,
        } = config.at_once;
        anyhow::ensure!(
            [previews, testers, exports].iter().all(|n| (1..=500).contains(n)),
            "at_once: from 1 to 500 of each kind"
        );
        anyhow::ensure!(
            config.max_connections > 0 && config.max_connections_of_one > 0,
            "max_connections and max_connections_of_one: at least 1"
        );
        anyhow::ensure!(
            config.ask_providers_seconds > 0,
            "ask_providers_seconds must be at least 1"
        );
        let schemes = ["sqlite:", "postgres:", "postgresql:"];
        anyhow::ensure!(
            schemes
                .iter()
                .any(|scheme| config.database_url.starts_with(scheme)),
            "database_url is `sqlite:` and a path, or a `postgres://` URL"
        );
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let is_plain = !config.log.contains(['=', ',', '[']);
        anyhow::ensure!(
            !is_plain || levels.iter().any(|level| config.log.eq_ignore_ascii_case(level)),
            "log is one of {}, or directives such as info,gateway=debug",
            levels.join(", ")
        );
        Ok(config)
    }

    /// Internal places that the server may connect to.
    pub(crate) fn allowed(&self) -> anyhow::Result<Vec<Allowed>> {
        let parsed = self.allow_internal.iter().map(|origin| {
            Allowed::parse(origin).with_context(|| format!("allow_internal: {origin:?} cannot be used"))
        });
        parsed.collect()
    }

    /// The file of the database, where it is one.
    fn database_file(&self) -> Option<&str> {
        let path = self.database_url.strip_prefix("sqlite:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        path.split('?').next()
    }

    /// For commands that look at a database, and must not make one where the path is mistyped.
    pub(crate) fn needs_database(&self) -> anyhow::Result<()> {
        match self.database_file() {
            Some(path) if !Path::new(path).exists() => bail!(
                "there is no database at {}: check database_url, or run `chatelaine setup` for a new one",
                in_full(Path::new(path)).display()
            ),
            _ => Ok(()),
        }
    }

    /// Where this instance writes digests of the audit log.
    pub(crate) fn audit_digest_file(&self) -> PathBuf {
        if !self.audit_digest_file.as_os_str().is_empty() {
            return self.audit_digest_file.clone();
        }
        format!("{}.digests", self.database_file().unwrap_or("chatelaine")).into()
    }

    /// Where this instance notes how far the database is.
    pub(crate) fn mark_file(&self) -> PathBuf {
        match self.mark_file.as_os_str().is_empty() {
            true => self.audit_digest_file().with_extension("mark"),
            false => self.mark_file.clone(),
        }
    }

    /// The master key from the environment or from its file.
    pub(crate) fn master_key(&self) -> anyhow::Result<MasterKey> {
        if let Some(text) = &self.master_key {
            anyhow::ensure!(
                !text.trim().is_empty(),
                "CHATELAINE_MASTER_KEY is set and empty: give it the key, or unset it to read master_key_file"
            );
            return MasterKey::parse(text).context("CHATELAINE_MASTER_KEY is not a master key");
        }
        let path = &self.master_key_file;
        read_key(path)?.with_context(|| {
            format!(
                "no master key at {}: put it back. For a new database without a backup, run `chatelaine setup`",
                in_full(path).display()
            )
        })
    }

    /// The master key that comes after it, while it is being changed. A file that is named and not there is an error
    /// where it is needed, and would be one at every other start.
    pub(crate) fn next_master_key(&self) -> anyhow::Result<Option<MasterKey>> {
        if let Some(text) = &self.next_master_key {
            anyhow::ensure!(
                !text.trim().is_empty(),
                "CHATELAINE_NEXT_MASTER_KEY is set and empty: give it the key, or unset it"
            );
            let key = MasterKey::parse(text).context("CHATELAINE_NEXT_MASTER_KEY is not a master key")?;
            return Ok(Some(key));
        }
        match self.next_master_key_file.as_os_str().is_empty() {
            true => Ok(None),
            false => read_key(&self.next_master_key_file),
        }
    }
}

/// The master key in a file; `None` where there is no file.
fn read_key(path: &Path) -> anyhow::Result<Option<MasterKey>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let key = MasterKey::parse(&text).with_context(|| format!("{} is not a master key", path.display()))?;
    Ok(Some(key))
}

/// Writes a secret to a new file that only its owner can read.
pub(crate) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_says_the_defaults_and_nothing_unknown() {
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../config.example.toml"));
        let example: Config = Figment::from(Toml::file_exact(path)).extract().unwrap();
        assert_eq!(example, Config::default());
    }

    #[test]
    fn digests_lie_beside_the_database_unless_told_otherwise() {
        let at = |database: &str, file: &str| {
            let config = Config {
                database_url: database.into(),
                audit_digest_file: file.into(),
                ..Config::default()
            };
            config.audit_digest_file().display().to_string()
        };
        assert_eq!(at("sqlite:chatelaine.db", ""), "chatelaine.db.digests");
        assert_eq!(at("sqlite:///var/lib/c.db?mode=rwc", ""), "/var/lib/c.db.digests");
        assert_eq!(at("postgres://host/database", ""), "chatelaine.digests");
        assert_eq!(at("sqlite:c.db", "/logs/one.digests"), "/logs/one.digests");
        let config = Config {
            audit_digest_file: "/logs/one.digests".into(),
            ..Config::default()
        };
        assert_eq!(config.mark_file(), Path::new("/logs/one.mark"));
        assert_eq!(Config::default().mark_file(), Path::new("chatelaine.db.mark"));
    }

    #[test]
    fn a_mistyped_path_makes_no_database() {
        let at = |url: &str| Config {
            database_url: url.to_owned(),
            ..Config::default()
        };
        for missing in [
            "sqlite:/nowhere/at-all.db",
            "sqlite:///nowhere/at-all.db?mode=rwc",
        ] {
            let told = at(missing).needs_database().unwrap_err().to_string();
            assert!(told.contains("/nowhere/at-all.db"), "{told}");
        }
        let here = std::env::temp_dir().join(wire::OrgId::fresh().to_string());
        std::fs::write(&here, "").unwrap();
        assert!(at(&format!("sqlite:{}", here.display())).needs_database().is_ok());
        std::fs::remove_file(here).unwrap();
        assert!(at("postgres://127.0.0.1/x").needs_database().is_ok());
    }

    #[test]
    fn unknown_keys_are_refused() {
        let toml = "public_url = \"http://x\"\nlissen = []\n";
        let figment = Figment::from(Serialized::defaults(Config::default())).merge(Toml::string(toml));
        assert!(
            figment
                .extract::<Config>()
                .unwrap_err()
                .to_string()
                .contains("lissen")
        );
    }
}

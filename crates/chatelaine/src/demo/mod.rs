//! `chatelaine demo`: the whole story on this machine, with an identity provider, a wiki and an MCP server
//! that are real but small.

mod seed;

use crate::config::{Config, LogFormat, Mail, MailTransport, write_secret};
use crate::say::say;
use crate::{observe, server::Server, setup};
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use store::Clock;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use wire::{AccountId, AppId, AppKind};

/// Options of `chatelaine demo`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print one line of JSON when ready, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
    /// The control plane's port; the other parts take the ports behind it.
    #[arg(long, default_value_t = 7400)]
    port_base: u16,
    /// Folder for database and keys; a fresh one in the temporary folder if absent.
    #[arg(long)]
    data: Option<PathBuf>,
    /// PostgreSQL instead of the embedded SQLite: postgres://…
    #[arg(long)]
    database_url: Option<String>,
    /// Go on with what the folder holds instead of starting afresh.
    #[arg(long)]
    keep: bool,
}

/// Where everything listens, all on 127.0.0.1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports(u16);

impl Ports {
    fn url(self, offset: u16) -> String {
        format!("http://127.0.0.1:{}", self.0 + offset)
    }
    pub(crate) fn control(self) -> String {
        self.url(0)
    }
    pub(crate) fn idp(self) -> String {
        self.url(1)
    }
    /// The origin behind the n-th app.
    pub(crate) fn origin(self, n: u16) -> String {
        self.url(2 + n)
    }
    /// Where the n-th app is published.
    pub(crate) fn public(self, n: u16) -> String {
        self.url(11 + n)
    }
}

/// Everything that a second start with `--keep` must know again. Lies beside the database, mode 0600.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) port_base: u16,
    pub(crate) org: String,
    pub(crate) admin: Admin,
    pub(crate) api_token: String,
    pub(crate) idp_client_secret: String,
    pub(crate) users: Vec<User>,
    pub(crate) accounts: Vec<NamedAccount>,
    pub(crate) apps: Vec<DemoApp>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Admin {
    pub(crate) email: String,
    pub(crate) password: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) email: String,
    pub(crate) allowed: bool,
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NamedAccount {
    pub(crate) id: AccountId,
    pub(crate) name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DemoApp {
    pub(crate) id: AppId,
    pub(crate) account: AccountId,
    pub(crate) name: String,
    pub(crate) kind: AppKind,
    pub(crate) url: String,
    pub(crate) managed_oauth: bool,
}

const STATE: &str = "demo.json";
/// Where the demo's mail goes: a folder in the folder.
const MAIL: &str = "mail";
const FILES: [&str; 7] = [
    STATE,
    "demo.db",
    "demo.db-wal",
    "demo.db-shm",
    "master.key",
    "digests",
    "digests.mark",
];

pub(crate) async fn run(args: Args, stop: CancellationToken) -> anyhow::Result<()> {
    let ports = Ports(args.port_base);
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("chatelaine-demo-{}", std::process::id())),
    };
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder);
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    if !args.keep {
        forget(&folder)?;
    }
    let config = Config {
        public_url: ports.control(),
        // The control plane, the four apps, and five ports to publish further apps at.
        listen: std::iter::once(0)
            .chain(11..20)
            .map(|n| format!("127.0.0.1:{}", ports.0 + n))
            .collect(),
        database_url: args
            .database_url
            .clone()
            .unwrap_or_else(|| format!("sqlite:{}", folder.join("demo.db").display())),
        master_key_file: folder.join("master.key"),
        audit_digest_file: folder.join("digests"),
        log: std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()),
        log_format: LogFormat::Text,
        shutdown_seconds: 5,
        mail: Mail {
            transport: MailTransport::File,
            from: "Chatelaine <chatelaine@demo.example>".into(),
            directory: folder.join(MAIL),
            ..Mail::default()
        },
        // What a demo does not decide, the environment may.
        ..Config::load(None)?
    };
    observe::logs(&config);

    let (key, is_new) = setup::key_or_new(&config)?;
    let server = Server::start(&config, &key, Clock::system()).await?;
    if is_new {
        write_secret(&config.master_key_file, &key.to_text())?;
    }
    let state = match read_state(&folder)? {
        Some(state) => {
            anyhow::ensure!(
                state.port_base == args.port_base,
                "{} was made for --port-base {}",
                folder.display(),
                state.port_base
            );
            state
        }
        None => {
            anyhow::ensure!(
                store::org::all(&server.store).await?.is_empty(),
                "the database holds something already, but {} does not say what: use another database",
                folder.join(STATE).display()
            );
            let state = seed::seed(&server.store, &server.keyring, ports).await?;
            write_secret(&folder.join(STATE), &serde_json::to_string_pretty(&state)?)?;
            state
        }
    };
    let parts = TaskTracker::new();
    start_idp((&server.store, &state), ports, &parts, &stop).await?;
    for (n, app) in (0..).zip(&state.apps) {
        start_origin((n, app), ports, &parts, &stop).await?;
    }
    let serving = tokio::spawn(server.run(stop.clone()));
    announce(&args, &state, ports, &folder).await?;
    serving.await??;
    stop.cancel();
    parts.close();
    parts.wait().await;
    if args.data.is_none() && !args.keep {
        // A folder of our own in the temporary folder: nobody can name it again.
        forget(&folder)?;
        let _ = std::fs::remove_dir(&folder);
    }
    Ok(())
}

/// Deletes what an earlier demo left in the folder, and nothing else.
fn forget(folder: &Path) -> anyhow::Result<()> {
    let mut files: Vec<_> = FILES.iter().map(|name| folder.join(name)).collect();
    let mail = folder.join(MAIL);
    if let Ok(entries) = std::fs::read_dir(&mail) {
        let entries = entries.filter_map(Result::ok).map(|entry| entry.path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|end| end == "eml")));
    }
    for file in files {
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot delete {}", file.display()));
            }
            _ => {}
        }
    }
    // Not when something else lies in it.
    let _ = std::fs::remove_dir(mail);
    Ok(())
}

fn read_state(folder: &Path) -> anyhow::Result<Option<State>> {
    let path = folder.join(STATE);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let state =
                serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))?;
            Ok(Some(state))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

async fn bind(url: &str) -> anyhow::Result<TcpListener> {
    let address = url.trim_start_matches("http://");
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

async fn start_idp(
    (store, state): (&store::Store, &State),
    ports: Ports,
    parts: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    // That of folders which are older than redirect URIs of each connection's own, and each connection's own.
    let mut redirect_uris = vec![store::connection::shared_redirect_uri(&ports.control())];
    for org in store::org::all(store).await? {
        let connections = setup::connections(store, &org.id).await?.into_iter();
        let here = connections.filter(|c| c.spec.issuer.as_deref() == Some(ports.idp().as_str()));
        redirect_uris.extend(here.map(|c| c.redirect_uri));
    }
    let config = demo::idp::Config {
        issuer: ports.idp(),
        client_id: seed::IDP_CLIENT.into(),
        client_secret: state.idp_client_secret.clone(),
        redirect_uris,
        post_logout_redirect_uris: vec![format!("{}/login", ports.control())],
        users: state
            .users
            .iter()
            .map(|user| demo::idp::User {
                username: user.username.clone(),
                password: user.password.clone(),
                sub: seed::subject(&user.username),
                email: user.email.clone(),
                name: user.name.clone(),
                groups: user.groups.clone(),
            })
            .collect(),
        clock: demo::Clock::default(),
    };
    let listener = bind(&ports.idp()).await?;
    let stop = stop.clone();
    parts.spawn(async move {
        if let Err(error) = demo::idp::serve(listener, config, stop).await {
            tracing::error!(%error, "the demo's identity provider ended");
        }
    });
    Ok(())
}

async fn start_origin(
    (n, app): (u16, &DemoApp),
    ports: Ports,
    parts: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let listener = bind(&ports.origin(n)).await?;
    let issuer = format!("{}/accounts/{}", ports.control(), app.account);
    let assertion = Some(demo::assertion::Config {
        jwks_url: format!("{issuer}/jwks"),
        audience: app.url.clone(),
        issuer: Some(issuer),
        clock: demo::Clock::default(),
    });
    let stop = stop.clone();
    let kind = app.kind;
    // Names a file in which the MCP server notes every call that reached it.
    let journal = std::env::var_os("CHATELAINE_DEMO_JOURNAL").map(PathBuf::from);
    parts.spawn(async move {
        let served = match kind {
            AppKind::Web => {
                let config = demo::wiki::Config {
                    assertion,
                    require_assertion: true,
                };
                demo::wiki::serve(listener, config, stop).await
            }
            AppKind::Mcp => {
                let config = demo::tickets::Config {
                    assertion,
                    public_hosts: Vec::new(),
                    journal,
                };
                demo::tickets::serve(listener, config, stop).await
            }
        };
        if let Err(error) = served {
            tracing::error!(%error, "one of the demo's origins ended");
        }
    });
    Ok(())
}

/// Says that everything is up, for machines or for people.
async fn announce(args: &Args, state: &State, ports: Ports, folder: &Path) -> anyhow::Result<()> {
    if args.json {
        let users: Vec<_> = state
            .users
            .iter()
            .map(|u| {
                serde_json::json!({
                    "username": u.username, "password": u.password, "email": u.email, "allowed": u.allowed,
                })
            })
            .collect();
        let line = serde_json::json!({
            "ready": true,
            "control_url": ports.control(),
            "admin": state.admin,
            "api_token": state.api_token,
            "org": state.org,
            "users": users,
            "accounts": state.accounts,
            "idp": { "issuer": ports.idp() },
            "mail": folder.join(MAIL),
            "apps": state.apps,
        });
        say!("{line}");
        return Ok(());
    }
    let State {
        admin,
        users,
        apps,
        accounts,
        ..
    } = state;
    say!();
    say!("  Chatelaine is up. Data: {}", folder.display());
    say!();
    say!("  dashboard   {}", ports.control());
    say!("  owner       {}   {}", admin.email, admin.password);
    say!("  API token   {}", state.api_token);
    say!("  sign-in     {} (the demo's identity provider)", ports.idp());
    for user in users {
        let may = if user.allowed {
            "allowed"
        } else {
            "refused by policy"
        };
        say!(
            "    {:<10} {:<26} {:<30} {may}",
            user.username,
            user.password,
            user.email
        );
    }
    say!("  mail        {}", folder.join(MAIL).display());
    say!("  apps");
    for app in apps {
        let account = accounts
            .iter()
            .find(|a| a.id == app.account)
            .map_or("", |a| a.name.as_str());
        let switch = if app.managed_oauth {
            "Managed OAuth on"
        } else {
            "Managed OAuth off"
        };
        say!("    {:<14} {:<11} {:<32} {switch}", app.name, account, app.url);
    }
    if let Some(app) = apps
        .iter()
        .find(|app| app.kind == AppKind::Mcp && app.managed_oauth)
    {
        let url = &app.url;
        say!("  agents");
        say!("    Claude Code   claude mcp add --transport http tickets {url} && claude mcp login tickets");
        say!("    Codex         codex mcp add tickets --url {url}");
        say!("    curl          curl -i {url}");
    }
    if let Some(app) = apps
        .iter()
        .find(|app| app.kind == AppKind::Mcp && !app.managed_oauth)
    {
        say!("  the switch");
        say!(
            "    curl -X PATCH -H 'Authorization: Bearer {}' -H 'Content-Type: application/json' \\\n      \
             -d '{{\"managed_oauth\":true}}' {}/api/v1/apps/{}",
            state.api_token,
            ports.control(),
            app.id
        );
    }
    say!();
    say!("  Ctrl-C stops it.");
    Ok(())
}

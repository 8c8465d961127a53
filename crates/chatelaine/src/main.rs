//! The binary: command line, configuration, composition.

mod assets;
mod background;
mod backup;
mod config;
mod context;
mod demo;
mod door;
mod observe;
mod permissions;
mod proxy;
mod rekey;
mod say;
mod server;
mod setup;
mod slow;
mod verify;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use config::Config;
use say::say;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// Requests are many small, short-lived pieces of memory; this allocator is measurably faster at them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Identity federation for people and agents.
#[derive(Parser)]
#[command(version, long_about = None)]
struct Cli {
    /// Configuration file (TOML). `CHATELAINE_*` variables come on top.
    #[arg(long, global = true, env = "CHATELAINE_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server: control plane, broker, authorization server and gateway.
    Serve,
    /// Make the master key, the organisation and its first owner. Asks for nothing that it can make itself.
    Setup(setup::Args),
    /// Start the whole story on this machine: server, identity provider, a wiki and an MCP server.
    Demo(demo::Args),
    /// Help owners who cannot sign in any more. Works on the database itself, on the server.
    #[command(subcommand)]
    Owner(Owner),
    /// Write everything that the database holds into one file, while servers go on.
    Backup(backup::Args),
    /// Put a backup into an empty place, and end everything that was alive in it.
    Restore(backup::RestoreArgs),
    /// Seal everything under another master key, while servers go on.
    Rekey(rekey::Args),
    /// Look after the audit log.
    #[command(subcommand)]
    Audit(Audit),
    /// Bring the database's schema up to what this version needs, as `serve` does when it starts.
    Migrate,
    /// Check that configuration, master key and database fit together.
    Doctor,
    /// Print the REST API's OpenAPI 3.1 document.
    Openapi,
    /// What a client of the REST API does: resources, profiles, the organisation as code.
    #[command(flatten)]
    Client(cli::Command),
}

#[derive(Subcommand)]
enum Owner {
    /// Give an owner with a local password a new one, take their second factors away and end their sessions.
    Reset(setup::ResetArgs),
}

#[derive(Subcommand)]
enum Audit {
    /// Say whether the log is what was written, and name the first break: of every organisation in the database, or of
    /// an export.
    Verify(verify::Args),
    /// What a client of the REST API does.
    #[command(flatten)]
    Client(cli::Audit),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            say::failure(&error.into());
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            say::failure(&error);
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let stop = CancellationToken::new();
    let done = match cli.command {
        Command::Client(command) => {
            let mut around = cli::Surroundings::process();
            return Ok(cli::run(command, Cli::command(), &mut around).await.into());
        }
        Command::Audit(Audit::Client(command)) => {
            let mut around = cli::Surroundings::process();
            return Ok(cli::run_audit(command, &mut around).await.into());
        }
        Command::Openapi => {
            say!("{}", control::openapi().to_pretty_json()?);
            Ok(())
        }
        Command::Demo(args) => {
            cancel_on_signal(&stop)?;
            demo::run(args, stop).await
        }
        Command::Serve => {
            let config = Config::load(cli.config.as_deref())?;
            observe::logs(&config);
            cancel_on_signal(&stop)?;
            let key = config.master_key()?;
            let server = server::Server::start(&config, &key, store::Clock::system()).await?;
            server.run(stop).await
        }
        Command::Setup(args) => {
            let config = Config::load(cli.config.as_deref())?;
            setup::run(&config, args).await
        }
        Command::Owner(Owner::Reset(args)) => {
            let config = Config::load(cli.config.as_deref())?;
            setup::reset_owner(&config, args).await
        }
        Command::Backup(args) => {
            let config = Config::load(cli.config.as_deref())?;
            backup::take(&config, args).await
        }
        Command::Restore(args) => {
            let config = Config::load(cli.config.as_deref())?;
            backup::restore(&config, args).await
        }
        Command::Rekey(args) => {
            let config = Config::load(cli.config.as_deref())?;
            rekey::run(&config, args).await
        }
        Command::Audit(Audit::Verify(args)) => {
            let config = Config::load(cli.config.as_deref())?;
            verify::run(&config, &args).await
        }
        Command::Migrate => {
            let config = Config::load(cli.config.as_deref())?;
            setup::migrate(&config).await
        }
        Command::Doctor => {
            let config = Config::load(cli.config.as_deref())?;
            doctor(&config).await
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

async fn doctor(config: &Config) -> anyhow::Result<()> {
    say!(
        "configuration  ok: {} on {}",
        config.public_url,
        config.listen.join(", ")
    );
    let key = config.master_key()?;
    say!("master key     read");
    config.needs_database()?;
    let store = setup::open(config, &key).await?;
    say!("database       ok: the schema is one that this version can use, the key fits");
    if store.is_rekeying().await? {
        say!(
            "master key     WARNING: it is being changed, and that was not finished: run `chatelaine rekey` again"
        );
    }
    match backup::check(config, &store).await? {
        Some(time) => say!("rollback       ok: the database is no older than it was seen on {time}"),
        None => say!(
            "rollback       not known: a server writes {} first",
            config.mark_file().display()
        ),
    }
    for row in store.directory().unreadable() {
        say!("database       WARNING: {row}");
    }
    let mailer = config.mail.mailer(store.clock().clone())?;
    if mailer.is_configured() {
        say!("mail           ok: from {}", config.mail.from);
    } else {
        say!("mail           none: no one-time codes, no mailed invitations (see [mail])");
    }
    for concern in permissions::concerns(config)? {
        say!("files          WARNING: {concern}");
    }
    let organisations = store::org::all(&store).await?;
    if organisations.is_empty() {
        say!("organisation   none yet: run `chatelaine setup`");
    }
    let control = url::Url::parse(&config.public_url)?;
    if control.scheme() == "http" && !matches!(control.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
    {
        say!("transport      WARNING: public_url is plain http on a host that is not this one");
    }
    for (org, connection) in setup::sharing_callback(&store).await? {
        say!(
            "connection     WARNING: {} ({org}) has no redirect URI of its own: register {} at its provider, then set \
             `callback` to `own`. Until then only answers with `iss` count",
            connection.spec.name,
            connection.redirect_uri
        );
    }
    let concern = proxy::noticed(&store, config).await?;
    if let Some(concern) = concern.or_else(|| proxy::concern(config).map(ToOwned::to_owned)) {
        say!("proxy          WARNING: {concern}");
    }
    let snapshot = store.directory();
    for view in snapshot.apps() {
        if !view.connections.iter().any(|c| c.signs_in) {
            let (app, account) = (&view.app.spec.name, &view.account.spec.name);
            say!("app            WARNING: nobody can sign in to {app} ({account}): no connection is bound");
        }
    }
    for view in snapshot.apps() {
        let opened: Vec<ipnet::IpNet> = view
            .origin_ranges
            .iter()
            .filter_map(|net| net.parse().ok())
            .collect();
        let literal: Option<std::net::IpAddr> = match url::Url::parse(&view.app.spec.origin_url)?.host() {
            Some(url::Host::Ipv4(ip)) => Some(ip.into()),
            Some(url::Host::Ipv6(ip)) => Some(ip.into()),
            _ => None,
        };
        if literal.is_some_and(|ip| outbound::is_special(ip, &opened)) {
            let (app, origin) = (&view.app.spec.name, &view.app.spec.origin_url);
            say!(
                "origin         WARNING: {app} is not forwarded to {origin}: see allowed_origin_ranges of the organisation"
            );
        }
    }
    let control_host = store::host::of_authority(&server::authority_of(&control));
    for view in snapshot.apps() {
        if store::host::of_authority(&view.authority) == control_host {
            let (app, account) = (&view.app.spec.name, &view.account.spec.name);
            say!(
                "host           WARNING: {app} ({account}) lies at the control plane's host: its pages can set cookies there"
            );
        }
    }
    let conflicts = store::host::conflicts(&store, &config.public_url).await?;
    for (host, app) in &conflicts {
        let account = snapshot.account(&app.account);
        let account = account.map_or("?", |view| view.account.spec.name.as_str());
        say!(
            "host           WARNING: {} ({account}) lies at {}, and the host {host} belongs to another account: move \
             the app, or share the host (`chatelaine host list`)",
            app.spec.name,
            app.spec.public_url
        );
    }
    if conflicts.is_empty() {
        say!("hosts          ok: every app lies at a host of its account");
    }
    verify::database(&store, &[config.audit_digest_file()]).await
}

/// Cancels on Ctrl-C and on SIGTERM.
fn cancel_on_signal(stop: &CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("no signal handler")?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

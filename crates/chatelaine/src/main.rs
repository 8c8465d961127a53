//! The binary: command line, configuration, composition.

mod assets;
mod config;
mod context;
mod demo;
mod observe;
mod proxy;
mod server;
mod setup;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use config::Config;
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
    /// Look after the audit log.
    #[command(subcommand)]
    Audit(Audit),
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
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it in the life of a process"
)]
enum Audit {
    /// Walk the hash chain of every organisation and name the first break. Needs the database.
    Verify,
    /// What a client of the REST API does.
    #[command(flatten)]
    Client(cli::Audit),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("chatelaine: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("chatelaine: {error:#}");
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
            println!("{}", control::openapi().to_pretty_json()?);
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
        Command::Audit(Audit::Verify) => {
            let config = Config::load(cli.config.as_deref())?;
            let store = setup::open(&config, &config.master_key()?).await?;
            verify(&store).await
        }
        Command::Doctor => {
            let config = Config::load(cli.config.as_deref())?;
            doctor(&config).await
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

async fn verify(store: &store::Store) -> anyhow::Result<()> {
    let mut broken = false;
    for org in store::org::all(store).await? {
        let found = store::audit::verify(store, &org.id).await?;
        match found.broken_at {
            None => println!("{}: {} events, unbroken", org.slug, found.checked),
            Some(seq) => {
                println!(
                    "{}: broken at event {seq} ({} before it are right)",
                    org.slug, found.checked
                );
                broken = true;
            }
        }
    }
    anyhow::ensure!(!broken, "the audit log is not what was written");
    Ok(())
}

async fn doctor(config: &Config) -> anyhow::Result<()> {
    println!(
        "configuration  ok: {} on {}",
        config.public_url,
        config.listen.join(", ")
    );
    let key = config.master_key()?;
    println!("master key     ok");
    let store = setup::open(config, &key).await?;
    println!("database       ok: schema is current, the key fits");
    let mailer = config.mail.mailer(store.clock().clone())?;
    if mailer.is_configured() {
        println!("mail           ok: from {}", config.mail.from);
    } else {
        println!("mail           none: no one-time codes, no mailed invitations (see [mail])");
    }
    let organisations = store::org::all(&store).await?;
    if organisations.is_empty() {
        println!("organisation   none yet: run `chatelaine setup`");
    }
    let control = url::Url::parse(&config.public_url)?;
    if control.scheme() == "http" && !matches!(control.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"))
    {
        println!("transport      WARNING: public_url is plain http on a host that is not this one");
    }
    let concern = proxy::noticed(&store, config).await?;
    if let Some(concern) = concern.or_else(|| proxy::concern(config).map(ToOwned::to_owned)) {
        println!("proxy          WARNING: {concern}");
    }
    let snapshot = store.directory();
    for view in snapshot.apps() {
        if !view.connections.iter().any(|c| c.signs_in) {
            let (app, account) = (&view.app.spec.name, &view.account.spec.name);
            println!(
                "app            WARNING: nobody can sign in to {app} ({account}): no connection is bound"
            );
        }
    }
    verify(&store).await
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

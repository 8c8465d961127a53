//! `cargo xtask bench`: the gateway's authenticated path beside nginx and HAProxy, seconds apart in one run.
//!
//! Each server in turn gets one core to itself; the load generator and the backend share the other. The same
//! binary moves by a third within hours on a shared machine, so only the ratios within one run mean anything.

mod agent;
mod http;
mod measure;
mod peers;
mod report;

use crate::{
    sh::{self, say},
    web,
};
use anyhow::{Context as _, ensure};
use measure::{Figures, Load};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process,
};

/// How to measure.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// How often each server is measured, in turns.
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds of load for each measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Concurrent connections.
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// Different access tokens that take turns.
    #[arg(long, default_value_t = 1000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    tokens: usize,
    /// First of the demo's ports.
    #[arg(long, default_value_t = 7700)]
    port_base: u16,
    /// Measure this binary instead of building one.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Print the results without writing `docs/BENCHMARKS.md`.
    #[arg(long)]
    dry_run: bool,
}

/// One server under load.
struct Subject {
    name: &'static str,
    url: String,
    pid: u32,
}

pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<()> {
    ensure!(
        cfg!(target_os = "linux"),
        "measuring reads /proc and pins processes to cores: Linux only"
    );
    let tools = peers::Tools::find()?;
    let binary = match &args.binary {
        Some(binary) => binary.clone(),
        None => build(root)?,
    };
    let folder = env::temp_dir().join(format!("chatelaine-bench-{}", process::id()));
    fs::create_dir_all(&folder)?;
    let result = measure_all(
        root,
        args,
        &tools,
        &Place {
            binary: &binary,
            folder: &folder,
        },
    );
    let _ = fs::remove_dir_all(&folder);
    result
}

fn build(root: &Path) -> anyhow::Result<PathBuf> {
    say("building the release binary");
    sh::ensure_wasm_target(root)?;
    web::build(root, false)?;
    sh::run(sh::cargo(root).args(["build", "--package", "chatelaine", "--release", "--locked"]))?;
    Ok(sh::target_dir(root).join("release/chatelaine"))
}

/// Where the server is and where this run keeps its files.
struct Place<'a> {
    binary: &'a Path,
    folder: &'a Path,
}

fn measure_all(root: &Path, args: &Args, tools: &peers::Tools, place: &Place<'_>) -> anyhow::Result<()> {
    say("starting the backend and the servers");
    let backend = peers::backend(tools, place.folder)?;
    let demo = peers::Demo::start(place.binary, place.folder, args.port_base)?;
    let app = agent::publish(&demo.ready, args.port_base + 15, backend.port)?;
    say("signing in and collecting access tokens");
    let tokens = agent::tokens(&demo.ready, &app, args.tokens)?;
    let key = agent::public_key(&app.issuer, &tokens[0])?;
    let nginx = peers::nginx(tools, place.folder, backend.port)?;
    let haproxy = peers::haproxy(tools, place.folder, backend.port, &key)?;

    let idle = measure::resident(demo.pid())?;
    let subjects = [
        Subject {
            name: "nginx, plain proxy",
            url: nginx.url(),
            pid: nginx.pid(),
        },
        Subject {
            name: "HAProxy, jwt_verify ES256",
            url: haproxy.url(),
            pid: haproxy.pid(),
        },
        Subject {
            name: "Chatelaine",
            url: app.url.clone(),
            pid: demo.pid(),
        },
    ];
    let load = Load::prepare(tools, place.folder, &tokens, args.connections)?;

    for subject in &subjects {
        refused_without_token(subject)?;
        load.run(subject, 1)
            .with_context(|| format!("warming up {}", subject.name))?;
    }
    let mut figures: Vec<Vec<Figures>> = subjects.iter().map(|_| Vec::new()).collect();
    for round in 1..=args.rounds {
        for (subject, results) in subjects.iter().zip(&mut figures) {
            let result = load.run(subject, args.seconds)?;
            say(&format!("round {round}: {}: {result}", subject.name));
            results.push(result);
        }
    }
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name).collect();
    let text = report::write(&report::Input {
        root,
        args,
        tools,
        names: &names,
        figures: &figures,
        resident_kib: (idle, measure::resident(demo.pid())?),
        audited: agent::audited(&demo.ready, &app)?,
    })?;
    println!("{text}");
    if !args.dry_run {
        fs::write(root.join("docs/BENCHMARKS.md"), text)?;
        say("written to docs/BENCHMARKS.md");
    }
    Ok(())
}

/// A server that lets everybody through would win every race.
fn refused_without_token(subject: &Subject) -> anyhow::Result<()> {
    let answer = http::Browser::default().get(&subject.url)?;
    let expected = if subject.name.starts_with("nginx") {
        200
    } else {
        401
    };
    ensure!(
        answer.status == expected,
        "{} answers {} without a token",
        subject.name,
        answer.status
    );
    Ok(())
}

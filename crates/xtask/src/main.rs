//! Developer commands: `cargo xtask demo | test | web | bench`.
//!
//! Each needs rustup and says (or, as root with apt, installs) what else is missing. Progress goes to
//! standard error, so that what a command is asked for can be read from standard output.

mod bench;
mod demo;
mod postgres;
mod sh;
mod test;
mod web;

use clap::{Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Developer commands of Chatelaine",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds everything and starts the whole story on this machine.
    Demo(demo::Args),
    /// Runs every check: format, lints, unit and integration tests on both databases, end-to-end stories.
    Test(test::Args),
    /// Builds the dashboard into `web/dist`.
    Web {
        /// The small build that is shipped.
        #[arg(long)]
        release: bool,
    },
    /// Measures the gateway beside nginx and HAProxy in one run and writes `docs/BENCHMARKS.md`.
    Bench(bench::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let root = root();
    match command {
        Command::Demo(args) => demo::run(&root, &args),
        Command::Test(args) => test::run(&root, &args),
        Command::Web { release } => {
            sh::ensure_wasm_target(&root)?;
            web::build(&root, release)
        }
        Command::Bench(args) => bench::run(&root, &args),
    }
}

/// The workspace: two levels above this crate.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

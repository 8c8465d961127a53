//! `cargo xtask demo`: from a clean clone to the running story.

use crate::{sh, web};
use anyhow::Context as _;
use std::{ffi::OsString, os::unix::process::CommandExt as _, path::Path, process::Command, time::Instant};

/// What `chatelaine demo` takes is passed on as it is.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Optimised builds; slower to make, faster to run.
    #[arg(long)]
    release: bool,
    /// Options of `chatelaine demo`: --json, --port-base N, --data DIR, --database-url URL, --keep.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<()> {
    // Clap hands everything after the first option that it does not know to `rest`, --release included.
    let release = args.release || args.rest.iter().any(|arg| arg == "--release");
    let rest = args.rest.iter().filter(|arg| *arg != "--release" && *arg != "--");

    let start = Instant::now();
    sh::ensure_wasm_target(root)?;
    sh::say("building the dashboard");
    web::build(root, release)?;
    sh::say("building the server");
    let mut build = sh::cargo(root);
    build.args(["build", "--package", "chatelaine", "--locked"]);
    if release {
        build.arg("--release");
    }
    sh::run(&mut build)?;
    sh::say(&format!("built in {} s; starting", start.elapsed().as_secs()));

    let binary = sh::target_dir(root)
        .join(if release { "release" } else { "debug" })
        .join("chatelaine");
    // Replaces this process: signals and the exit status are the demo's own.
    let error = Command::new(&binary).arg("demo").args(rest).exec();
    Err(error).with_context(|| format!("cannot start {}", binary.display()))
}

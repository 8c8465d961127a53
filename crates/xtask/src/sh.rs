//! Running other programs, finding them, and installing them where that is allowed.

use anyhow::{Context as _, bail, ensure};
use std::{
    env,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Once,
};

/// The wasm target that the dashboard is compiled for.
pub(crate) const WASM: &str = "wasm32-unknown-unknown";

/// Says what is going on, to standard error.
pub(crate) fn say(text: &str) {
    eprintln!("\x1b[1m» {text}\x1b[0m");
}

/// The cargo that runs this program.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo told this program about its own package must not leak into other builds: it would
    // make them look changed.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Where cargo puts what it builds.
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}

/// Runs a command to its end with standard output turned to standard error; fails when it does.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown} failed ({status})");
    Ok(())
}

/// Runs a command to its end and returns what it printed, trimmed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(
        output.status.success(),
        "{shown} failed ({}): {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn show(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}

/// The first of `names` that is an executable in `PATH` (or where system programs usually are).
pub(crate) fn find(names: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    names.iter().find_map(|name| {
        folders
            .iter()
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
    })
}

/// Whether a subcommand of cargo, such as `nextest`, is installed.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    find(&[&format!("cargo-{subcommand}")]).is_some()
        || env::var_os("HOME").is_some_and(|home| {
            Path::new(&home)
                .join(format!(".cargo/bin/cargo-{subcommand}"))
                .is_file()
        })
}

/// Whether this process may install packages.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}

/// Installs Debian packages, or fails with the one command that would.
pub(crate) fn install(packages: &[&str]) -> anyhow::Result<()> {
    static UPDATE: Once = Once::new();
    let line = format!("apt-get install -y {}", packages.join(" "));
    if !is_root() || find(&["apt-get"]).is_none() {
        let brew = if cfg!(target_os = "macos") {
            " (or what your package manager calls them)"
        } else {
            ""
        };
        bail!("something is missing; install it with: sudo {line}{brew}");
    }
    say(&format!("installing {}", packages.join(" ")));
    UPDATE.call_once(|| {
        // A stale list is not fatal: the install below says what is wrong.
        let _ = run(Command::new("apt-get").args(["update", "-qq"]));
    });
    run(Command::new("apt-get")
        .args(["install", "-y", "-qq", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Finds one of `names`, installing `packages` when there is none.
pub(crate) fn require(names: &[&str], packages: &[&str]) -> anyhow::Result<PathBuf> {
    if let Some(found) = find(names) {
        return Ok(found);
    }
    install(packages)?;
    find(names).with_context(|| format!("{} is still missing after installing it", names.join(" or ")))
}

/// Adds the wasm target to the toolchain when it is missing.
pub(crate) fn ensure_wasm_target(root: &Path) -> anyhow::Result<()> {
    let rustc =
        output(
            Command::new("rustc")
                .current_dir(root)
                .args(["--print", "target-libdir", "--target", WASM]),
        );
    if rustc.is_ok_and(|dir| Path::new(&dir).is_dir()) {
        return Ok(());
    }
    say("adding the wasm target");
    run(Command::new("rustup")
        .current_dir(root)
        .args(["target", "add", WASM]))
}

/// A TCP port that nobody listens on just now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Sends a signal, such as `INT`, to a process that this program started.
pub(crate) fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status();
}

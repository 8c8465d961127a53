//! Builds the dashboard: cargo for wasm, the JavaScript glue, then everything the server embeds into `web/dist`.
//!
//! Needs no node and fetches nothing: the stylesheet is committed, and the glue comes from the
//! `wasm-bindgen-cli-support` crate of the very version the dashboard links.

use anyhow::{Context as _, bail, ensure};
use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};
use wasm_bindgen_cli_support::Bindgen;

const TARGET: &str = "wasm32-unknown-unknown";

/// What a change to makes a rebuild necessary, relative to the root.
const INPUTS: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "web/Cargo.toml",
    "web/index.html",
    "web/src",
    "web/assets",
    "crates/wire",
    "crates/policy",
    "crates/xtask/src/web.rs",
];

/// Builds `web/dist` under `root`; `release` selects the small build that is meant to be shipped.
///
/// Does nothing when the last build is newer than everything it was made of (and is not a development build
/// where a release is wanted).
///
/// # Errors
/// When cargo or the glue generator fails, or a file cannot be written.
pub(crate) fn build(root: &Path, release: bool) -> anyhow::Result<()> {
    let dist = root.join("web/dist");
    let stamp = dist.join(".stamp");
    if is_current(root, &stamp, release)? {
        return Ok(());
    }

    let wasm = compile(root, release)?;
    let assets = dist.join("assets");
    if dist.exists() {
        fs::remove_dir_all(&dist).context("emptying web/dist")?;
    }
    fs::create_dir_all(&assets)?;
    Bindgen::new()
        .input_path(&wasm)
        .out_name("web")
        .web(true)?
        .typescript(false)
        .remove_name_section(release)
        .remove_producers_section(release)
        .generate(&assets)
        .context("generating the JavaScript glue")?;
    copy_dir(&root.join("web/assets"), &assets)?;

    // One version for all files: they belong together, and a stale half must never be mixed with a fresh one.
    let version = digest(&assets)?;
    let index = fs::read_to_string(root.join("web/index.html"))?.replace("@VERSION@", &version);
    fs::write(dist.join("index.html"), index)?;
    fs::write(&stamp, profile(release))?;
    if release {
        report_size(&assets.join("web_bg.wasm"))?;
    }
    Ok(())
}

fn profile(release: bool) -> &'static str {
    if release { "wasm" } else { "dev" }
}

fn is_current(root: &Path, stamp: &Path, release: bool) -> anyhow::Result<bool> {
    let Ok(built) = fs::read_to_string(stamp) else {
        return Ok(false);
    };
    if release && built != profile(true) {
        return Ok(false);
    }
    let built_at = fs::metadata(stamp)?.modified()?;
    for input in INPUTS {
        if newest(&root.join(input))? > built_at {
            return Ok(false);
        }
    }
    Ok(true)
}

fn newest(path: &Path) -> anyhow::Result<SystemTime> {
    let meta = fs::metadata(path).with_context(|| path.display().to_string())?;
    let mut latest = meta.modified()?;
    if meta.is_dir() {
        for entry in fs::read_dir(path)? {
            latest = latest.max(newest(&entry?.path())?);
        }
    }
    Ok(latest)
}

/// Runs cargo in a target directory of its own, so that it waits for no other build, and returns the module.
fn compile(root: &Path, release: bool) -> anyhow::Result<PathBuf> {
    let target_dir = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |dir| root.join(dir))
        .join("wasm-build");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args([
            "build",
            "--package",
            "web",
            "--lib",
            "--target",
            TARGET,
            "--profile",
            profile(release),
        ])
        .arg("--target-dir")
        .arg(&target_dir)
        // Unified features would pull what only the server needs into the browser.
        .env_remove("CARGO_RESOLVER_FEATURE_UNIFICATION")
        .env_remove("CARGO_UNSTABLE_FEATURE_UNIFICATION")
        // One type for all views: less code to compile and to send.
        .env(
            "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
            "--cfg erase_components",
        )
        // The glue generator reads from a custom section which wasm features are in use, and drops it itself.
        .env("CARGO_PROFILE_WASM_STRIP", "none")
        .status()
        .context("running cargo")?;
    if !status.success() {
        bail!("the dashboard did not compile (is the target there? rustup target add {TARGET})");
    }
    let folder = if release { "wasm" } else { "debug" };
    let wasm = target_dir.join(TARGET).join(folder).join("web.wasm");
    ensure!(wasm.is_file(), "{} is missing", wasm.display());
    Ok(wasm)
}

fn copy_dir(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A short name for the content of a folder of files; tells browsers to fetch anew, protects nothing.
fn digest(folder: &Path) -> anyhow::Result<String> {
    let mut files = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.file_name().hash(&mut hasher);
        fs::read(file.path())?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Prints what a browser has to fetch; the compressed size only where the `brotli` command is installed.
fn report_size(wasm: &Path) -> anyhow::Result<()> {
    let raw = fs::metadata(wasm)?.len() / 1024;
    let compressed = Command::new("brotli")
        .arg("-c")
        .arg(wasm)
        .stderr(Stdio::null())
        .output();
    match compressed {
        Ok(output) if output.status.success() => {
            eprintln!(
                "dashboard: {raw} kB of wasm, {} kB as brotli",
                output.stdout.len() / 1024
            );
        }
        _ => eprintln!("dashboard: {raw} kB of wasm"),
    }
    Ok(())
}

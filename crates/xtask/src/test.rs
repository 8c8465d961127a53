//! `cargo xtask test`: every check, one after another, with a list of the parts at the end.

use crate::{
    postgres::Postgres,
    sh::{self, WASM},
    web,
};
use anyhow::{Context as _, bail, ensure};
use std::{
    env,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only these parts (can be given several times); the others are listed as skipped.
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
}

/// One part, in the order in which they run: cheap ones first.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Fmt,
    Web,
    Clippy,
    ClippyWeb,
    Build,
    Rust,
    E2e,
    Deny,
}

const PARTS: [Part; 8] = [
    Part::Fmt,
    Part::Web,
    Part::Clippy,
    Part::ClippyWeb,
    Part::Build,
    Part::Rust,
    Part::E2e,
    Part::Deny,
];

impl Part {
    const fn describe(self) -> &'static str {
        match self {
            Self::Fmt => "format",
            Self::Web => "dashboard build",
            Self::Clippy => "lints, host",
            Self::ClippyWeb => "lints, dashboard",
            Self::Build => "server and test build",
            Self::Rust => "unit and integration tests, SQLite and PostgreSQL",
            Self::E2e => "end-to-end stories, Chromium and agent clients",
            Self::Deny => "licences, advisories, sources",
        }
    }
}

enum Outcome {
    Passed,
    Failed(String),
    Skipped(&'static str),
    /// Only for a part that needs a tool which is not a requirement.
    NotRun(&'static str),
}

struct Session {
    root: PathBuf,
    /// Started by the first part that needs it.
    postgres: Option<Postgres>,
}

pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<()> {
    let ci = env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let start = Instant::now();
    let mut session = Session {
        root: root.to_path_buf(),
        postgres: None,
    };
    let mut report: Vec<(Part, Outcome, Duration)> = Vec::new();
    for part in PARTS {
        let begun = Instant::now();
        let failed = |wanted: Part| {
            report
                .iter()
                .any(|(part, outcome, _)| *part == wanted && matches!(outcome, Outcome::Failed(_)))
        };
        let outcome = if !args.only.is_empty() && !args.only.contains(&part) {
            Outcome::Skipped("not asked for")
        } else if part == Part::Deny && !sh::has_cargo("deny") {
            Outcome::NotRun("cargo-deny is not installed")
        } else if matches!(part, Part::Rust | Part::E2e) && failed(Part::Build) {
            Outcome::Skipped("the build failed")
        } else {
            sh::say(&format!("{}: {}", name(part), part.describe()));
            session.part(part).map_or_else(
                |error| Outcome::Failed(format!("{error:#}")),
                |()| Outcome::Passed,
            )
        };
        if let Outcome::Failed(why) = &outcome {
            eprintln!("{}: FAILED: {why}", name(part));
        }
        report.push((part, outcome, begun.elapsed()));
    }
    drop(session);
    conclude(&report, ci, start.elapsed())
}

/// Prints the list of parts and the closing line; fails when a part did, or was skipped where none may be.
fn conclude(report: &[(Part, Outcome, Duration)], ci: bool, whole: Duration) -> anyhow::Result<()> {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    println!();
    for (part, outcome, time) in report {
        let (word, note) = match outcome {
            Outcome::Passed => {
                passed += 1;
                ("passed", "")
            }
            Outcome::Failed(why) => {
                failed += 1;
                ("FAILED", why.as_str())
            }
            Outcome::Skipped(why) => {
                skipped += 1;
                ("skipped", *why)
            }
            Outcome::NotRun(why) => ("not run", *why),
        };
        println!(
            "{word:8} {:>5} s  {:10} {}  {note}",
            time.as_secs(),
            name(*part),
            part.describe()
        );
    }
    println!("in {} s", whole.as_secs());
    println!("{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} of the parts failed");
    ensure!(
        !ci || skipped == 0,
        "{skipped} of the parts were skipped, and CI skips nothing"
    );
    Ok(())
}

fn name(part: Part) -> String {
    use clap::ValueEnum as _;
    part.to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

/// What the host builds: all but the dashboard, which is for wasm.
const HOST: [&str; 4] = ["--workspace", "--exclude", "web", "--locked"];

impl Session {
    fn part(&mut self, part: Part) -> anyhow::Result<()> {
        let root = self.root.clone();
        match part {
            Part::Fmt => sh::run(sh::cargo(&root).args(["fmt", "--all", "--check"])),
            Part::Web => {
                sh::ensure_wasm_target(&root)?;
                web::build(&root, false)
            }
            Part::Clippy => sh::run(sh::cargo(&root).arg("clippy").args(HOST).args([
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ])),
            Part::ClippyWeb => {
                sh::ensure_wasm_target(&root)?;
                // Beside the dashboard's own build, whose macros and build scripts it can use.
                let target = sh::target_dir(&root).join("wasm-build");
                sh::run(
                    sh::cargo(&root)
                        .args([
                            "clippy",
                            "--package",
                            "web",
                            "--target",
                            WASM,
                            "--locked",
                            "--target-dir",
                        ])
                        .arg(target)
                        .args(["--", "-D", "warnings"]),
                )
            }
            // Binaries and tests at once, so that both use the same build of every dependency. The example is
            // one of the agents of the stories.
            Part::Build => {
                let targets = ["--bins", "--tests", "--examples"];
                sh::run(sh::cargo(&root).arg("build").args(HOST).args(targets))
            }
            Part::Rust => self.rust(),
            Part::E2e => self.e2e(),
            Part::Deny => {
                sh::run(sh::cargo(&root).args(["deny", "--offline", "check", "licenses", "bans", "sources"]))
            }
        }
    }

    /// The database of the tests: the one that the caller names, else one of our own.
    fn database(&mut self) -> anyhow::Result<String> {
        if let Ok(url) = env::var("TEST_DATABASE_URL")
            && !url.is_empty()
        {
            return Ok(url);
        }
        if self.postgres.is_none() {
            sh::say("starting a throw-away PostgreSQL");
            self.postgres = Some(Postgres::start()?);
        }
        self.postgres
            .as_ref()
            .map(Postgres::url)
            .context("PostgreSQL is not running")
    }

    fn rust(&mut self) -> anyhow::Result<()> {
        let database = self.database()?;
        let mut cargo = sh::cargo(&self.root);
        if sh::has_cargo("nextest") {
            cargo.args(["nextest", "run", "--no-fail-fast"]);
        } else {
            cargo.args(["test", "--no-fail-fast", "--bins", "--tests"]);
        }
        sh::run(cargo.args(HOST).env("TEST_DATABASE_URL", database))?;
        // The dashboard's logic needs no browser, and so none of the wasm build.
        sh::run(sh::cargo(&self.root).args(["test", "--package", "web", "--lib", "--locked"]))
    }

    fn e2e(&mut self) -> anyhow::Result<()> {
        let database = self.database()?;
        let chromium = chromium()?;
        let node = sh::require(&["node", "nodejs"], &["nodejs", "npm"])?;
        let npm = sh::require(&["npm"], &["npm"])?;
        let folder = self.root.join("e2e");
        let binary = sh::target_dir(&self.root).join("debug/chatelaine");
        if !binary.is_file() {
            bail!("{} is missing: run the part `build` first", binary.display());
        }
        sh::run(
            std::process::Command::new(npm)
                .current_dir(&folder)
                .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1"),
        )?;
        sh::run(
            std::process::Command::new(node)
                .current_dir(&folder)
                .arg("run.mjs")
                .env("CHATELAINE_BIN", binary)
                .env("CHROMIUM", chromium)
                .env("TEST_DATABASE_URL", database),
        )
    }
}

fn chromium() -> anyhow::Result<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM").filter(|value| !value.is_empty()) {
        return Ok(named.into());
    }
    let mac = Path::new("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
    if mac.is_file() {
        return Ok(mac.to_path_buf());
    }
    sh::require(
        &[
            "chromium",
            "chromium-browser",
            "google-chrome",
            "google-chrome-stable",
        ],
        &["chromium", "fonts-dejavu-core"],
    )
}

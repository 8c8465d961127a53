//! `chatelaine audit verify`: whether a log is what was written.

use crate::config::Config;
use crate::say::say;
use crate::setup;
use anyhow::Context as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use store::audit::{Digest, Digests, PublicKey, Verified, verify_copy};
use store::{Store, Vault};

/// Options of `chatelaine audit verify`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chatelaine audit verify
  chatelaine audit verify --digests one.digests --digests two.digests
  chatelaine audit verify log.ndjson
  chatelaine audit export | chatelaine audit verify - --key KEY --digests one.digests

Several instances write a file of digests each: name them all. A copy is an export of the whole organisation (NDJSON, no
filters); with --key neither the master key nor the database is needed.")]
pub(crate) struct Args {
    /// The export to verify, `-` for standard input; the database if absent.
    file: Option<PathBuf>,
    /// Verify the database, which is what is done without a file.
    #[arg(long, conflicts_with = "file")]
    db: bool,
    /// A file of digests; can be given several times. The configured one if absent.
    #[arg(long, value_name = "FILE")]
    digests: Vec<PathBuf>,
    /// The public key of digests, as `audit verify` and `doctor` show it; from the master key if absent.
    #[arg(long, value_name = "KEY", requires = "file")]
    key: Option<String>,
}

pub(crate) async fn run(config: &Config, args: &Args) -> anyhow::Result<()> {
    let mut paths = args.digests.clone();
    for path in &paths {
        anyhow::ensure!(path.exists(), "there is no file of digests {}", path.display());
    }
    if paths.is_empty() {
        paths.push(config.audit_digest_file());
    }
    let report = match &args.file {
        None => {
            config.needs_database()?;
            let store = setup::open(config, &config.master_key()?).await?;
            of_database(&store, &paths).await?
        }
        Some(file) => {
            let key = match &args.key {
                Some(key) => key.parse().context("--key is not a key of digests")?,
                None => PublicKey::of(&Vault::new(&config.master_key()?)?)?,
            };
            if file == Path::new("-") {
                of_copy(std::io::stdin().lock(), &key, &paths)?
            } else {
                let opened = std::fs::File::open(file);
                let opened = opened.with_context(|| format!("cannot read {}", file.display()))?;
                of_copy(BufReader::new(opened), &key, &paths)?
            }
        }
    };
    report.tell()
}

/// What is said of logs.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<String>,
    wrong: bool,
}

impl Report {
    fn add(&mut self, line: impl Into<String>) {
        self.lines.push(line.into());
    }

    /// Where the log says itself that it went back in time.
    fn jumps(&mut self, org: &str, found: &Verified) {
        for (jump, digests) in &found.jumps {
            self.add(format!(
                "{org}: restored on {}: the database went back in time, and the log goes on at event {}; {}",
                jump.time,
                jump.to + 1,
                match digests {
                    0 => "no digest knows of events that were lost by it".to_owned(),
                    n => format!("events that were lost by it are known to {n} of the digests"),
                }
            ));
        }
    }

    fn tell(self) -> anyhow::Result<()> {
        for line in self.lines {
            say!("{line}");
        }
        anyhow::ensure!(!self.wrong, "the audit log is not what was written");
        Ok(())
    }
}

/// Verifies the logs of all organisations in the database, and says so.
pub(crate) async fn database(store: &Store, paths: &[PathBuf]) -> anyhow::Result<()> {
    of_database(store, paths).await?.tell()
}

async fn of_database(store: &Store, paths: &[PathBuf]) -> anyhow::Result<Report> {
    let key = PublicKey::of(store.vault())?;
    let mut report = Report::default();
    report.add(format!("digests are signed by {key}"));
    let mut digests = read(&key, paths, &mut report)?;
    for org in store::org::all(store).await? {
        let found = store::audit::verify(store, &org.id, &digests).await?;
        report.add(format!("{}: {}", org.slug, words(&found, false, paths)));
        report.jumps(&org.slug, &found);
        if found.broken.is_none()
            && let Some(behind) = behind(&found)
        {
            report.add(format!(
                "{}: not vouched for by a digest: {behind}; only the head in the database says that they are all",
                org.slug
            ));
        }
        report.wrong |= found.broken.is_some();
        digests.retain(|digest| digest.org != org.id);
    }
    if let Some(digest) = digests.first() {
        report.add(format!(
            "{}: BROKEN: the database knows no such organisation, a digest of {} does",
            digest.org, digest.time
        ));
        report.wrong = true;
    }
    Ok(report)
}

fn of_copy(copy: impl BufRead, key: &PublicKey, paths: &[PathBuf]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let digests = read(key, paths, &mut report)?;
    let (org, found) = verify_copy(copy, &digests)?;
    let org = org.map_or_else(|| "no event".to_owned(), |org| org.to_string());
    let newest = digests.iter().filter(|d| d.org.to_string() == org).map(|d| d.seq);
    let newest = newest.max();
    report.add(match (newest, found.vouched, &found.broken) {
        (Some(newest), None, None) => format!(
            "{org}: {} events, unbroken; of the digests of it, the newest up to event {newest}, none ends within the copy",
            found.checked
        ),
        _ => format!("{org}: {}", words(&found, true, paths)),
    });
    report.jumps(&org, &found);
    report.wrong |= found.broken.is_some();
    if found.broken.is_some() {
        return Ok(report);
    }
    if let Some(behind) = behind(&found) {
        report.add(format!(
            "{org}: not vouched for: {behind}; that they were altered and chained anew, or that more came after them, would \
             not be noticed"
        ));
    }
    report.add(match found.unproven {
        0 => format!("{org}: not vouched for: answers of origins; there are none in the copy"),
        n => format!(
            "{org}: not vouched for: the answers of origins to {n} events (`response`); `chatelaine audit verify` on the \
             server verifies answers"
        ),
    });
    if let Some(newest) = newest.filter(|newest| *newest > found.reaches) {
        report.add(format!(
            "{org}: INCOMPLETE: digests know events up to {newest}, and the copy ends with {}: it is older, or its end was cut \
             off",
            found.reaches
        ));
    }
    Ok(report)
}

/// The events that no digest knows.
fn behind(found: &Verified) -> Option<String> {
    let first = match found.vouched {
        Some((seq, _)) => seq + 1,
        None => {
            let skipped: i64 = found.jumps.iter().map(|(jump, _)| jump.skipped()).sum();
            found.reaches - skipped - i64::try_from(found.checked).ok()? + 1
        }
    };
    match found.reaches - first {
        ..0 => None,
        0 => Some(format!("event {first}")),
        _ => Some(format!("events {first} to {}", found.reaches)),
    }
}

/// The good digests; others are reported.
fn read(key: &PublicKey, paths: &[PathBuf], report: &mut Report) -> anyhow::Result<Vec<Digest>> {
    let mut good = Vec::new();
    for path in paths {
        let path_text = path.display();
        let read = Digests::read(path, key).with_context(|| format!("cannot read {path_text}"))?;
        for line in read.torn {
            report.add(format!(
                "{path_text}: line {line} cannot be read: its writer was probably killed"
            ));
        }
        for line in read.bad {
            report.add(format!(
                "{path_text}: line {line} is no digest of this server, or was altered"
            ));
            report.wrong = true;
        }
        good.extend(read.good);
    }
    Ok(good)
}

fn words(found: &Verified, is_copy: bool, paths: &[PathBuf]) -> String {
    let Verified { checked, answers, .. } = found;
    if let Some(broken) = &found.broken {
        return format!("BROKEN: {broken} ({checked} events from the beginning are right)");
    }
    let known = match found.vouched {
        Some((seq, time)) => format!(
            "{} digests say so, too, the newest of {time} up to event {seq}",
            found.digests
        ),
        None => format!(
            "no digest of it in {}: that its end was cut off would not be noticed",
            paths
                .iter()
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    match is_copy {
        true => format!("{checked} events, unbroken; {known}"),
        false => format!("{checked} events and {answers} answers, unbroken; {known}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use store::MasterKey;
    use store::audit::{DigestFile, Filter, Order};

    fn owner_of_nothing() -> wire::AuditActor {
        wire::AuditActor::of(wire::ActorKind::Anonymous)
    }

    #[tokio::test]
    async fn database_and_export_are_verified_with_the_digests_that_are_kept() {
        for (_, database) in testkit::databases().await {
            let folder = std::env::temp_dir().join(wire::OrgId::fresh().to_string());
            std::fs::create_dir(&folder).unwrap();
            let key = MasterKey::generate().unwrap();
            let config = Config {
                database_url: database.url.clone(),
                master_key: Some(key.to_text().to_string()),
                audit_digest_file: folder.join("digests"),
                ..Config::default()
            };
            let store = setup::open_with(&config, &key, (store::Clock::system(), store::Upgrade::Always))
                .await
                .unwrap();
            let keyring = tokens::Keyring::load(&store).await.unwrap();
            let owner = ("owner@acme.example", "a password of some length");
            let made = setup::organisation(&store, &keyring, ("Acme", "acme"), owner)
                .await
                .unwrap();
            let mut digests = DigestFile::open(config.audit_digest_file(), &store).unwrap();
            assert_eq!(digests.write(&store).await.unwrap(), 1);
            let all = (Order::Oldest, None);
            let org = &made.organisation.id;
            let events = store::audit::list(&store, org, &Filter::default(), all, 100)
                .await
                .unwrap();
            let export = folder.join("log.ndjson");
            let mut file = std::fs::File::create(&export).unwrap();
            for event in events {
                writeln!(file, "{}", serde_json::to_string(&event).unwrap()).unwrap();
            }

            // What is not vouched for is said.
            let paths = [config.audit_digest_file()];
            let public = PublicKey::of(store.vault()).unwrap();
            let told = |text: &str, paths: &[PathBuf]| {
                let report = of_copy(text.as_bytes(), &public, paths).unwrap();
                assert!(!report.wrong);
                report.lines.join("\n")
            };
            let whole = std::fs::read_to_string(&export).unwrap();
            let count = whole.lines().count();
            let text = told(&whole, &paths);
            assert!(
                text.contains(&format!("{count} events, unbroken; 1 digests say so")),
                "{text}"
            );
            assert!(
                text.contains("not vouched for: answers of origins; there are none"),
                "{text}"
            );
            assert!(!text.contains("not vouched for: event"), "{text}");
            let text = told(&whole, &[folder.join("none")]);
            assert!(
                text.contains(&format!("not vouched for: events 1 to {count};")),
                "{text}"
            );
            let mut event = store::audit::event(org, "gateway", "gateway.request", owner_of_nothing());
            event.outcome = wire::Outcome::Allowed;
            store.record(event).await.unwrap();
            let more = store::audit::list(&store, org, &Filter::default(), (Order::Newest, None), 1).await;
            let mut more = more.unwrap().remove(0);
            more.response = Some(wire::AuditResponse {
                status: 200,
                micros: 1,
            });
            let more = format!("{whole}{}\n", serde_json::to_string(&more).unwrap());
            let text = told(&more, &paths);
            let last = count + 1;
            assert!(
                text.contains(&format!("not vouched for: event {last};")),
                "{text}"
            );
            assert!(
                text.contains("not vouched for: the answers of origins to 1 events"),
                "{text}"
            );
            let report = of_database(&store, &paths).await.unwrap();
            let text = report.lines.join("\n");
            assert!(
                text.contains(&format!("not vouched for by a digest: event {last};")),
                "{text}"
            );

            // A copy whose end is missing says so.
            let first = whole.lines().next().unwrap().to_owned() + "\n";
            let text = told(&first, &paths);
            assert!(text.contains("none ends within the copy"), "{text}");
            assert!(text.contains("INCOMPLETE: digests know events up to"), "{text}");

            let verify = async |file: Option<PathBuf>| {
                let args = Args {
                    key: file
                        .as_ref()
                        .map(|_| PublicKey::of(store.vault()).unwrap().to_string()),
                    file,
                    db: false,
                    digests: Vec::new(),
                };
                run(&config, &args).await.map_err(|error| error.to_string())
            };
            assert_eq!(verify(None).await, Ok(()));
            let mistyped = Args {
                file: None,
                db: false,
                digests: vec![folder.join("nothere")],
                key: None,
            };
            let told = run(&config, &mistyped).await.unwrap_err().to_string();
            assert!(told.contains("nothere"), "{told}");
            assert_eq!(verify(Some(export.clone())).await, Ok(()));
            let wrong = Err("the audit log is not what was written".to_owned());
            database
                .execute("UPDATE audit_events SET outcome = 'denied' WHERE seq = 1")
                .await;
            assert_eq!(verify(None).await, wrong);
            let text = std::fs::read_to_string(&export).unwrap();
            std::fs::write(&export, text.replacen("success", "failure", 1)).unwrap();
            assert_eq!(verify(Some(export)).await, wrong);

            store.close().await;
            std::fs::remove_dir_all(folder).unwrap();
            database.remove().await;
        }
    }
}

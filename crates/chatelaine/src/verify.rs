//! `chatelaine audit verify`: whether a log is what was written.

use crate::config::Config;
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
    if paths.is_empty() {
        paths.push(config.audit_digest_file());
    }
    let Some(file) = &args.file else {
        let store = setup::open(config, &config.master_key()?).await?;
        return database(&store, &paths).await;
    };
    let key = match &args.key {
        Some(key) => key.parse().context("--key is not a key of digests")?,
        None => PublicKey::of(&Vault::new(&config.master_key()?)?)?,
    };
    if file == Path::new("-") {
        return copy(std::io::stdin().lock(), &key, &paths);
    }
    let opened = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    copy(BufReader::new(opened), &key, &paths)
}

/// Verifies the logs of all organisations in the database.
pub(crate) async fn database(store: &Store, paths: &[PathBuf]) -> anyhow::Result<()> {
    let key = PublicKey::of(store.vault())?;
    println!("digests are signed by {key}");
    let (mut digests, mut wrong) = read(&key, paths)?;
    for org in store::org::all(store).await? {
        let found = store::audit::verify(store, &org.id, &digests).await?;
        println!("{}: {}", org.slug, words(&found, paths));
        wrong |= found.broken.is_some();
        digests.retain(|digest| digest.org != org.id);
    }
    if let Some(digest) = digests.first() {
        println!(
            "{}: BROKEN: the database knows no such organisation, a digest of {} does",
            digest.org, digest.time
        );
        wrong = true;
    }
    verdict(wrong)
}

fn copy(copy: impl BufRead, key: &PublicKey, paths: &[PathBuf]) -> anyhow::Result<()> {
    let (digests, wrong) = read(key, paths)?;
    let (org, found) = verify_copy(copy, &digests)?;
    let org = org.map_or_else(|| "no event".to_owned(), |org| org.to_string());
    println!("{org}: {}", words(&found, paths));
    if let Some((seq, _)) = found.vouched {
        let newest = digests.iter().filter(|d| d.org.to_string() == org).map(|d| d.seq);
        if let Some(newest) = newest.max().filter(|newest| *newest > seq) {
            println!("{org}: digests know events up to {newest}, which the copy does not reach");
        }
    }
    verdict(wrong || found.broken.is_some())
}

fn verdict(wrong: bool) -> anyhow::Result<()> {
    anyhow::ensure!(!wrong, "the audit log is not what was written");
    Ok(())
}

/// The good digests, and whether there are others.
fn read(key: &PublicKey, paths: &[PathBuf]) -> anyhow::Result<(Vec<Digest>, bool)> {
    let (mut good, mut wrong) = (Vec::new(), false);
    for path in paths {
        let path_text = path.display();
        let read = Digests::read(path, key).with_context(|| format!("cannot read {path_text}"))?;
        for line in read.torn {
            println!("{path_text}: line {line} cannot be read: its writer was probably killed");
        }
        for line in read.bad {
            println!("{path_text}: line {line} is no digest of this server, or was altered");
            wrong = true;
        }
        good.extend(read.good);
    }
    Ok((good, wrong))
}

fn words(found: &Verified, paths: &[PathBuf]) -> String {
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
    format!("{checked} events and {answers} answers, unbroken; {known}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use store::MasterKey;
    use store::audit::{DigestFile, Filter, Order};

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
            let store = setup::open(&config, &key).await.unwrap();
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

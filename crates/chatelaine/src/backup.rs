//! `chatelaine backup` and `restore`, and the mark by which a server notices that its database went back in time
//! without them.

use crate::config::Config;
use crate::say::say;
use crate::setup;
use anyhow::{Context as _, anyhow, bail};
use std::path::{Path, PathBuf};
use store::backup::{Cause, Ended, Header, Loaded, Mark};
use store::{MasterKey, Store};
use tokens::Keyring;

/// Options of `chatelaine backup`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chatelaine backup /backups/chatelaine-$(date +%F).backup

It holds everything but the master key, without which it is worth nothing: keep that one apart from it. Servers go on
meanwhile. The file is the same for SQLite and PostgreSQL, and has mode 0600.")]
pub(crate) struct Args {
    /// A file that is not there yet.
    file: PathBuf,
}

/// Options of `chatelaine restore`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  chatelaine restore --check /backups/chatelaine-2027-01-31.backup
  chatelaine restore /backups/chatelaine-2027-01-31.backup
  chatelaine restore --accept-rollback

database_url names an empty place: a file that is not there, or a database without tables. Stop all servers on the old
database first. Everybody signs in anew afterwards, agents ask for consent, and API and service tokens are made anew.")]
pub(crate) struct RestoreArgs {
    /// What `chatelaine backup` wrote.
    #[arg(required_unless_present = "accept_rollback")]
    file: Option<PathBuf>,
    /// Only say whether the backup is whole, and what it holds.
    #[arg(long, requires = "file")]
    check: bool,
    /// The database itself is an older one, put back by other means, and that is meant: deal with it as with a backup.
    #[arg(long, conflicts_with_all = ["file", "check"])]
    accept_rollback: bool,
}

/// Settings and key, as the store wants them.
fn options<'a>(config: &'a Config, key: &'a MasterKey) -> store::Options<'a> {
    store::Options {
        database_url: &config.database_url,
        master_key: key,
        clock: store::Clock::system(),
        control_url: &config.public_url,
        pools: config.database_connections.into(),
    }
}

fn in_words(error: store::Error) -> anyhow::Error {
    match error {
        store::Error::Invalid { detail, .. } => anyhow!("{detail}"),
        other => anyhow::Error::new(other).context("the database cannot be used"),
    }
}

pub(crate) async fn take(config: &Config, args: Args) -> anyhow::Result<()> {
    config.needs_database()?;
    let version = env!("CARGO_PKG_VERSION");
    let key = config.master_key()?;
    let mut taken = store::backup::take(&options(config, &key), &args.file, version).await;
    if let (Err(store::Error::Invalid { pointer, .. }), Some(next)) = (&taken, config.next_master_key()?)
        && pointer == "/master_key"
    {
        // It was changed, and the configuration still says both.
        taken = store::backup::take(&options(config, &next), &args.file, version).await;
    }
    let taken = taken.map_err(in_words)?;
    say!("backup        {}", args.file.display());
    say!("holds         {} rows, {} bytes", taken.rows, taken.bytes);
    about(&taken.header)
}

fn about(header: &Header) -> anyhow::Result<()> {
    say!("taken         {} from {}", header.taken_at, header.engine);
    say!("version       {}, schema {}", header.version, header.schema);
    say!("master key    {} (only its name; keep the key apart)", header.key);
    for log in &header.logs {
        say!("audit log     {} up to event {}, {}", log.org, log.seq, log.hash);
    }
    Ok(())
}

pub(crate) async fn restore(config: &Config, args: RestoreArgs) -> anyhow::Result<()> {
    let key = config.master_key()?;
    let Some(file) = args.file else {
        config.needs_database()?;
        let store = setup::open(config, &key).await?;
        return finish(config, &store, Cause::Accepted).await;
    };
    let header = store::backup::look(&options(config, &key), &file).map_err(in_words)?;
    about(&header)?;
    if args.check {
        say!("ok            whole, and under the configured master key");
        return Ok(());
    }
    match store::backup::load(&options(config, &key), &file)
        .await
        .map_err(in_words)?
    {
        Loaded::Now => say!("database      holds what the backup held"),
        Loaded::Before => {
            say!("database      holds a backup from an attempt that was not finished: finishing it")
        }
    }
    let opening = store::Opening {
        restored: true,
        ..store::Opening::default()
    };
    let store = Store::open_with(options(config, &key), opening)
        .await
        .map_err(in_words)?;
    finish(config, &store, Cause::Backup).await
}

/// Ends what was alive, makes new signing keys, and writes the mark.
async fn finish(config: &Config, store: &Store, cause: Cause) -> anyhow::Result<()> {
    let path = config.mark_file();
    let mark = Mark::read(&path, store.vault()).map_err(in_words)?;
    let ended = store
        .forget_what_lived(cause, mark.as_ref())
        .await
        .map_err(in_words)?;
    let keyring = Keyring::load(store).await?;
    for org in store::org::all(store).await? {
        keyring.ensure(&org.id).await?;
    }
    Mark::of(store).await?.write(&path, store.vault())?;
    tell(&ended)?;
    store.close().await;
    Ok(())
}

fn tell(ended: &Ended) -> anyhow::Result<()> {
    for (org, position) in &ended.logs {
        say!("audit log     {org} goes on at event {position}, with `system.restored`");
    }
    say!(
        "ended         {} grants of agents, {} browser sessions",
        ended.grants,
        ended.sessions
    );
    say!(
        "              {} API tokens, {} invitations, {} signing keys; all codes, refresh tokens and trials",
        ended.api_tokens,
        ended.invitations,
        ended.signing_keys
    );
    say!("              recovery codes of {} people", ended.recovery);
    for name in &ended.service_tokens {
        say!(
            "              the secret of the service token {name}: `chatelaine service-token rotate {name}`"
        );
    }
    say!();
    say!(
        "Nobody knows what was revoked or given out since then, so that nothing of it is good any more. Now:"
    );
    say!("- people sign in, and agents ask for consent, by themselves");
    say!("- make API tokens anew, rotate service tokens (above), invite again");
    say!(
        "- people, roles, clients, policies, connections and webhooks are as they were then: whoever was disabled,"
    );
    say!("  blocked or taken a role since is not. Compare with a copy of the audit log, if there is one");
    say!(
        "- passwords and second factors are those from then, also where they were changed because somebody else knew"
    );
    say!(
        "  them: change those again. Webhooks, connections and confidential clients have their secrets from then"
    );
    say!("- start the servers anew; none may go on with the database from before");
    Ok(())
}

/// Why a database must not be served.
fn refusal(path: &Path, why: &str) -> anyhow::Error {
    anyhow!(
        "the database went back in time: {why} ({}). What was revoked since would be good again. Put the newer database \
         back; or, if this one is meant, run `chatelaine restore --accept-rollback`, which ends everything that was alive",
        path.display()
    )
}

/// Refuses a database that is older than the mark of this instance; says when that is from, if there is one.
pub(crate) async fn check(config: &Config, store: &Store) -> anyhow::Result<Option<wire::Timestamp>> {
    let path = config.mark_file();
    let Some(mark) = Mark::read(&path, store.vault()).map_err(in_words)? else {
        return Ok(None);
    };
    match store::backup::went_back(store, &mark).await?.1 {
        None => Ok(Some(mark.time)),
        Some(why) => bail!(refusal(&path, &why)),
    }
}

/// The mark of a running server.
pub(crate) struct Keeper {
    path: PathBuf,
    last: Option<Mark>,
}

impl Keeper {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            path: config.mark_file(),
            last: None,
        }
    }

    /// Notes how far the database is. When that is less than it was, nothing is allowed any more.
    pub(crate) async fn keep(&mut self, store: &Store) -> anyhow::Result<()> {
        if store.denied().is_some() {
            return Ok(());
        }
        let now = match &self.last {
            None => Mark::of(store).await?,
            Some(last) => {
                let (now, why) = store::backup::went_back(store, last).await?;
                if let Some(why) = why {
                    let words = refusal(&self.path, &why).to_string();
                    tracing::error!("{words}");
                    store.deny(&words);
                    return Ok(());
                }
                now
            }
        };
        if self.last.as_ref().is_none_or(|last| !last.same(&now)) {
            let written = now.write(&self.path, store.vault());
            written.with_context(|| format!("cannot write {}", self.path.display()))?;
            self.last = Some(now);
        }
        Ok(())
    }
}

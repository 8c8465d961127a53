//! `chatelaine rekey`: changing the master key.

use crate::config::{Config, write_secret};
use crate::say::say;
use crate::setup;
use anyhow::ensure;
use std::path::Path;
use std::time::Duration;
use store::MasterKey;
use store::backup::Mark;

/// How long servers that run have to follow: one that does not know for so long denies.
const PATIENCE: Duration = Duration::from_secs(6);

/// Options of `chatelaine rekey`.
#[derive(clap::Args)]
#[command(after_help = "\
With one server or with many, which may go on serving:
  1. next_master_key_file = \"next.key\" in the configuration, then: chatelaine rekey --make
  2. give the new key to every instance (next_master_key_file or CHATELAINE_NEXT_MASTER_KEY), and start each anew
  3. chatelaine rekey
  4. make it the master key of every instance (master_key_file), take next_master_key_file away, start each anew

Step 3 can be killed, and run again. Backups from before it need the master key from before: keep that for as long as them.")]
pub(crate) struct Args {
    /// Make the new key and write it to next_master_key_file, which is not there yet; nothing else.
    #[arg(long)]
    make: bool,
}

pub(crate) async fn run(config: &Config, args: Args) -> anyhow::Result<()> {
    let file = &config.next_master_key_file;
    if args.make {
        ensure!(*file != Path::new(""), "next_master_key_file does not say where");
        write_secret(file, &MasterKey::generate()?.to_text())?;
        say!("new key       {}", file.display());
        say!("next          give it to every instance, start each anew, then run `chatelaine rekey`");
        return Ok(());
    }
    ensure!(
        config.next_master_key()?.is_some(),
        "there is no new master key: say next_master_key_file, and make one with `chatelaine rekey --make`"
    );
    config.needs_database()?;
    let store = setup::open(config, &config.master_key()?).await?;
    let mark = config.mark_file();
    let known = Mark::read(&mark, store.vault())?;
    let done = store.rekey(PATIENCE).await?;
    if known.is_some() {
        Mark::of(&store).await?.write(&mark, store.vault())?;
    }
    for lost in &done.unreadable {
        say!("WARNING       {lost} opens with neither key, and was left as it is");
    }
    if done.done_before {
        say!("done          it was all sealed under the new key already");
    } else {
        let how = if done.resumed {
            ", going on from before"
        } else {
            ""
        };
        say!(
            "done          {} values are sealed under the new key{how}",
            done.sealed
        );
    }
    say!("master key    {}", store.vault().fingerprint());
    say!(
        "next          make the new key the master key of every instance, and take next_master_key_file away"
    );
    say!("keep          the old key for as long as backups from before are kept");
    store.close().await;
    Ok(())
}

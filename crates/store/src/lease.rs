//! What one instance at a time does. Whoever holds a lease renews it as it goes; whoever dies loses it by time.

use crate::sql::Sql;
use crate::{Result, Tx};

/// Takes or renews a lease, which lasts so many seconds if nobody does so again; `false` while somebody else has it.
pub(crate) async fn hold(tx: &mut Tx, (name, life): (&'static str, i64), holder: &str) -> Result<bool> {
    let now = tx.now();
    let sql = Sql::new(
        "INSERT INTO leases (name, holder, until) VALUES ($1, $2, $3) ON CONFLICT (name) DO UPDATE \
         SET holder = excluded.holder, until = excluded.until \
         WHERE leases.holder = excluded.holder OR leases.until <= $4",
    );
    let sql = sql.bind(name).bind(holder).bind(now.plus_seconds(life)).bind(now);
    Ok(tx.run(sql).await? == 1)
}

/// Gives a lease back.
pub(crate) async fn give_back(tx: &mut Tx, name: &'static str, holder: &str) -> Result<()> {
    let sql = Sql::new("DELETE FROM leases WHERE name = $1 AND holder = $2");
    tx.run(sql.bind(name).bind(holder)).await.map(drop)
}

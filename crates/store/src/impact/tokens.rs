//! API tokens that a transaction stops or starts: they act as their owner or for their account, and on no app, so no view
//! of an account knows them.

use super::Scene;
use super::held::BATCH;
use super::key::{Key, gather, ids, key};
use crate::access::{Means, Standing};
use crate::sql::{Row, Run, Sql};
use crate::user::Person;
use crate::{Change, Result, Store, user};
use wire::{AccountId, ApiTokenId, ConnectionKind, ImpactTokens, OrganisationSpec, Timestamp};

/// Of a connection's settings, what its people's tokens depend on.
#[derive(serde::Deserialize)]
struct OfOwner {
    enabled: bool,
}

/// Which tokens of people there are that some changes may concern.
pub(super) async fn of_people(store: &Store, changes: &[Change], now: Timestamp) -> Result<Vec<Key>> {
    let db = store.db().on(store.purpose);
    let mut found = Vec::new();
    for change in changes {
        let sql = alive("t.id", now);
        let sql = match change {
            Change::Organisation(id) => sql.and("t.org =", Some(id)),
            Change::Connection(id) => sql.and("u.connection =", Some(id)),
            Change::User(id) => sql.and("u.id =", Some(id)),
            _ => continue,
        };
        gather(db, sql, &mut found).await?;
    }
    for some in accounts(changes).chunks(BATCH) {
        let sql = alive("t.id", now).and_in("c.account", Some(some));
        gather(db, sql, &mut found).await?;
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The accounts among what changed.
fn accounts(changes: &[Change]) -> Vec<AccountId> {
    let accounts = changes.iter().filter_map(|change| match change {
        Change::Account(id) => Some(id.clone()),
        _ => None,
    });
    accounts.collect()
}

fn alive(columns: &str, now: Timestamp) -> Sql {
    let sql = Sql::assembled(format!(
        "SELECT {columns} FROM api_tokens t JOIN users u ON u.id = t.owner \
         JOIN connections c ON c.id = u.connection JOIN organisations o ON o.id = t.org \
         WHERE (t.expires_at IS NULL OR t.expires_at > $1)"
    ));
    sql.bind(now)
}

/// What becomes of some tokens of people.
pub(super) async fn some(mut store: &Store, scene: &Scene, keys: &[Key]) -> Result<ImpactTokens> {
    let mut tokens = ImpactTokens::default();
    let columns = concat!(
        users!("u"),
        ", t.id AS token, c.kind AS connection_kind, c.spec AS connection_spec, o.spec AS organisation_spec"
    );
    for some in keys.chunks(BATCH) {
        let sql = alive(columns, scene.moments.1).and_in("t.id", Some(&ids::<ApiTokenId>(some)?));
        for row in store.rows(sql).await? {
            let (was, is) = judge(scene, &row)?;
            count(&mut tokens, was, is);
        }
        tokio::task::yield_now().await;
    }
    Ok(tokens)
}

fn judge(scene: &Scene, row: &Row) -> Result<(bool, bool)> {
    let now = scene.moments.1;
    let good = |owner: &Person, spec: &OrganisationSpec, (kind, enabled): (ConnectionKind, bool)| {
        let standing = Standing::of(spec, kind);
        enabled && !owner.user.disabled && standing.lacks(owner, Means::Token, now).is_none()
    };
    let owner = user::read(row)?;
    let organisation: OrganisationSpec = row.json("organisation_spec")?;
    let enabled = row.json::<OfOwner>("connection_spec")?.enabled;
    let connection = (row.word("connection_kind")?, enabled);
    let was = good(&owner, &organisation, connection);
    if scene.touched.ends(key(&row.id::<ApiTokenId>("token")?)) {
        return Ok((was, false));
    }
    let Some(after) = scene.touched.person(&owner.user.id, Some(&owner)) else {
        return Ok((was, false));
    };
    let written = scene.rows.organisation(&owner.org);
    let organisation = written.map_or(&organisation, |written| &written.spec);
    let written = scene.rows.connection(&after.user.connection);
    let connection = match written {
        Some(spec) => Some((spec.kind, spec.enabled)),
        None => (after.user.connection == owner.user.connection).then_some(connection),
    };
    let is = connection.is_some_and(|connection| good(after, organisation, connection));
    Ok((was, is))
}

/// What becomes of the tokens of accounts themselves.
pub(super) async fn of_accounts(
    mut store: &Store,
    scene: &Scene,
    changes: &[Change],
) -> Result<ImpactTokens> {
    let mut tokens = ImpactTokens::default();
    for some in accounts(changes).chunks(BATCH) {
        let sql = Sql::new(
            "SELECT t.id, t.account, a.enabled FROM api_tokens t JOIN accounts a ON a.id = t.account \
             WHERE (t.expires_at IS NULL OR t.expires_at > $1)",
        );
        let sql = sql.bind(scene.moments.1).and_in("t.account", Some(some));
        for row in store.rows(sql).await? {
            let after = scene.rows.account_of(&row.id("account")?);
            let enabled = after.is_some_and(|account| account.spec.enabled);
            let ended = scene.touched.ends(key(&row.id::<ApiTokenId>("id")?));
            count(&mut tokens, row.flag("enabled")?, enabled && !ended);
        }
    }
    Ok(tokens)
}

const fn count(tokens: &mut ImpactTokens, was: bool, is: bool) {
    match (was, is) {
        (true, true) => tokens.keep += 1,
        (true, false) => tokens.lose += 1,
        (false, true) => tokens.gain += 1,
        (false, false) => {}
    }
}

/// Both together.
pub(super) const fn sum(a: ImpactTokens, b: ImpactTokens) -> ImpactTokens {
    ImpactTokens {
        gain: a.gain + b.gain,
        keep: a.keep + b.keep,
        lose: a.lose + b.lose,
    }
}

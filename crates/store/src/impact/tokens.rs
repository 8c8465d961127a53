//! API tokens that a transaction stops or starts: they act as their owner or for their account, and on no app, so no view
//! of an account knows them.

use crate::access::{Means, Standing};
use crate::sql::{Run, Sql};
use crate::{Change, Result, user};
use std::collections::BTreeMap;
use wire::{ApiTokenId, ImpactTokens, OrganisationSpec, Timestamp};

/// Of a connection's settings, what its people's tokens depend on.
#[derive(serde::Deserialize)]
struct OfOwner {
    enabled: bool,
}

/// Which tokens there are that some changes may concern, and whether each is good.
pub(super) async fn good(
    mut db: impl Run,
    changes: &[Change],
    now: Timestamp,
) -> Result<BTreeMap<ApiTokenId, bool>> {
    let mut found = BTreeMap::new();
    for change in changes {
        let sql = match change {
            Change::Organisation(id) => of_people(now).and("t.org =", Some(id)),
            Change::Connection(id) => of_people(now).and("u.connection =", Some(id)),
            Change::User(id) => of_people(now).and("u.id =", Some(id)),
            Change::Account(id) => {
                let sql = Sql::new(
                    "SELECT t.id, a.enabled FROM api_tokens t JOIN accounts a ON a.id = t.account \
                     WHERE (t.expires_at IS NULL OR t.expires_at > $1)",
                );
                for row in db.rows(sql.bind(now).and("t.account =", Some(id))).await? {
                    found.insert(row.id("id")?, row.flag("enabled")?);
                }
                of_people(now).and("c.account =", Some(id))
            }
            _ => continue,
        };
        for row in db.rows(sql).await? {
            let owner = user::read(&row)?;
            let asked = Standing::of(
                &row.json::<OrganisationSpec>("organisation_spec")?,
                row.word("connection_kind")?,
            );
            let is_there = !owner.user.disabled && row.json::<OfOwner>("connection_spec")?.enabled;
            let is_good = is_there && asked.lacks(&owner, Means::Token, now).is_none();
            found.insert(row.id("token")?, is_good);
        }
    }
    Ok(found)
}

fn of_people(now: Timestamp) -> Sql {
    let sql = Sql::new(concat!(
        "SELECT ",
        users!("u"),
        ", t.id AS token, c.kind AS connection_kind, c.spec AS connection_spec, \
         o.spec AS organisation_spec FROM api_tokens t JOIN users u ON u.id = t.owner \
         JOIN connections c ON c.id = u.connection JOIN organisations o ON o.id = t.org \
         WHERE (t.expires_at IS NULL OR t.expires_at > $1)"
    ));
    sql.bind(now)
}

/// What becomes of them.
pub(super) fn compare(
    before: &BTreeMap<ApiTokenId, bool>,
    after: &BTreeMap<ApiTokenId, bool>,
) -> ImpactTokens {
    let mut tokens = ImpactTokens::default();
    let was = |id| before.get(id).copied().unwrap_or_default();
    let is = |id| after.get(id).copied().unwrap_or_default();
    for id in before.keys() {
        match (was(id), is(id)) {
            (true, true) => tokens.keep += 1,
            (true, false) => tokens.lose += 1,
            (false, true) => tokens.gain += 1,
            (false, false) => {}
        }
    }
    tokens
}

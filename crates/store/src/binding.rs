//! Bindings: which connection signs people in to which account.

use crate::impact::{self, Draft, Made};
use crate::power::{Maker, Permission};
use crate::sql::{self, Paging, Row, Run, Sql, opt, word};
use crate::{Change, Error, Result, Store, Tx, audit, ended};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use wire::{
    AccountId, ActorKind, AuditActor, AuditChange, AuditEvent, Binding, BindingId, BindingSpec, BindingState,
    Connection, ConnectionId, OrgId, Outcome, Timestamp,
};

pub(crate) fn read(row: &Row) -> Result<Binding> {
    let claims = row.opt_text("claims")?;
    let claims = claims
        .map(|text| serde_json::from_str(&text).map_err(Error::internal))
        .transpose()?;
    Ok(Binding {
        id: row.id("id")?,
        connection: row.id("connection")?,
        account: row.id("account")?,
        spec: BindingSpec {
            mode: row.word("mode")?,
            state: row.word("state")?,
            drain_until: row.opt_time("drain_until")?,
            claims,
        },
        created_at: row.time("created_at")?,
        version: row.int("version")?,
    })
}

fn claims(spec: &BindingSpec) -> Result<crate::sql::Arg> {
    spec.claims.as_ref().map_or(Ok(None::<&str>.into()), sql::json)
}

const COLUMNS: &[&str] = &[
    "id",
    "org",
    "connection",
    "account",
    "mode",
    "state",
    "drain_until",
    "claims",
    "created_at",
    "version",
];

/// Binds a connection to an account.
///
/// # Errors
/// `Conflict` when it is bound there already, or another one is the only one there.
pub async fn create(
    tx: &mut Tx,
    org: &OrgId,
    (connection, account): (&ConnectionId, &AccountId),
    spec: BindingSpec,
) -> Result<Binding> {
    let made = create_many(tx, org, (connection, std::slice::from_ref(account)), &spec).await?;
    made.into_iter()
        .next()
        .ok_or_else(|| Error::internal("one binding was asked for"))
}

/// Binds a connection to several accounts alike.
///
/// # Errors
/// `Conflict` when it is bound to one of them already, or another one is the only one there.
pub async fn create_many(
    tx: &mut Tx,
    org: &OrgId,
    (connection, accounts): (&ConnectionId, &[AccountId]),
    spec: &BindingSpec,
) -> Result<Vec<Binding>> {
    let (mut made, mut rows) = (
        Vec::with_capacity(accounts.len()),
        Vec::with_capacity(accounts.len()),
    );
    for account in accounts {
        let binding = Binding {
            id: BindingId::fresh(),
            connection: connection.clone(),
            account: account.clone(),
            spec: spec.clone(),
            created_at: tx.now(),
            version: 1,
        };
        rows.push(vec![
            (&binding.id).into(),
            org.into(),
            connection.into(),
            account.into(),
            word(spec.mode)?.into(),
            word(spec.state)?.into(),
            spec.drain_until.into(),
            claims(spec)?,
            binding.created_at.into(),
            binding.version.into(),
        ]);
        tx.changed(Change::Account(account.clone()));
        made.push(binding);
    }
    tx.db.insert_many(("bindings", ""), COLUMNS, rows).await?;
    Ok(made)
}

/// Bindings of an organisation, of one connection or one account if given; `only` narrows them to
/// accounts that the caller may see.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    (connection, account): (Option<&ConnectionId>, Option<&AccountId>),
    only: Option<&[AccountId]>,
    page: &Paging<BindingId>,
) -> Result<Vec<Binding>> {
    let sql = Sql::new(select!(bindings, "WHERE org = $1"))
        .bind(org)
        .and("connection =", connection)
        .and("account =", account)
        .and_in("account", only);
    db.rows(sql.page(page)).await?.iter().map(read).collect()
}

/// One binding.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &BindingId) -> Result<Binding> {
    let row = opt(
        db,
        Sql::new(select!(bindings, "WHERE id = $1 AND org = $2"))
            .bind(id)
            .bind(org),
    )
    .await?;
    read(&row.ok_or(Error::NotFound("binding"))?)
}

/// The bindings of a connection in some accounts, or all, as they are now and stay until the transaction ends.
///
/// # Errors
/// When the database does not answer.
pub async fn hold(
    tx: &mut Tx,
    org: &OrgId,
    connection: &ConnectionId,
    accounts: Option<&[AccountId]>,
) -> Result<Vec<Binding>> {
    let sql = || {
        Sql::new("UPDATE bindings SET version = version WHERE org = $1 AND connection = $2")
            .bind(org)
            .bind(connection)
    };
    let mut found = Vec::new();
    let parts: Vec<_> = match accounts {
        None => vec![sql()],
        Some(accounts) => accounts
            .chunks(BATCH)
            .map(|some| sql().and_in("account", Some(some)))
            .collect(),
    };
    for sql in parts {
        for row in (&mut *tx)
            .rows(sql.then(concat!(" RETURNING ", bindings!())))
            .await?
        {
            found.push(read(&row)?);
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// The connections that are the only ones in some accounts: their active exclusive bindings.
///
/// # Errors
/// When the database does not answer.
pub async fn exclusive_in(
    mut db: impl Run,
    accounts: &[AccountId],
) -> Result<Vec<(AccountId, ConnectionId)>> {
    let mut found = Vec::new();
    for some in accounts.chunks(BATCH) {
        let sql = Sql::new(
            "SELECT account, connection FROM bindings WHERE mode = 'exclusive' AND state = 'active'",
        );
        for row in db.rows(sql.and_in("account", Some(some))).await? {
            found.push((row.id("account")?, row.id("connection")?));
        }
    }
    Ok(found)
}

/// The accounts among these, or of all, that the organisation has, in order of age.
///
/// # Errors
/// When the database does not answer.
pub async fn places(mut db: impl Run, org: &OrgId, accounts: Option<&[AccountId]>) -> Result<Vec<AccountId>> {
    let sql = || Sql::new("SELECT id FROM accounts WHERE org = $1").bind(org);
    let parts: Vec<_> = match accounts {
        None => vec![sql()],
        Some(accounts) => accounts
            .chunks(BATCH)
            .map(|some| sql().and_in("id", Some(some)))
            .collect(),
    };
    let mut found = BTreeSet::new();
    for sql in parts {
        for row in db.rows(sql).await? {
            found.insert(row.id("id")?);
        }
    }
    Ok(found.into_iter().collect())
}

/// The shared connections that new accounts are bound to.
///
/// # Errors
/// When the database does not answer.
pub async fn for_new_accounts(store: &Store, org: &OrgId) -> Result<Vec<Connection>> {
    let mut found = Vec::new();
    let mut page = Paging::default();
    loop {
        let mut some = crate::connection::list(store, org, None, &page).await?;
        let more = some.len() > page.limit as usize;
        some.truncate(page.limit as usize);
        page.after = some.last().map(|c| c.id.clone());
        found.extend(
            some.into_iter()
                .filter(|c| c.account.is_none() && c.spec.bind_new_accounts),
        );
        if !more {
            return Ok(found);
        }
    }
}

/// Identifiers in one statement at the most.
const BATCH: usize = 500;

/// Writes a changed binding.
///
/// # Errors
/// `Stale` when `binding.version` is not the stored one, `Conflict` when another connection is the only one
/// in the account.
pub async fn update(tx: &mut Tx, binding: &Binding, spec: BindingSpec) -> Result<Binding> {
    let all = update_many(tx, std::slice::from_ref(binding), &spec).await?;
    all.into_iter().next().ok_or(Error::Stale)
}

/// Writes the same spec into several bindings.
///
/// # Errors
/// `Stale` when the version of one is not the stored one, `Conflict` as for [`update`].
pub async fn update_many(tx: &mut Tx, bindings: &[Binding], spec: &BindingSpec) -> Result<Vec<Binding>> {
    let mut after = Vec::with_capacity(bindings.len());
    for some in bindings.chunks(BATCH) {
        let ids: Vec<BindingId> = some.iter().map(|b| b.id.clone()).collect();
        let sql = Sql::new(
            "UPDATE bindings SET mode = $1, state = $2, drain_until = $3, claims = $4, drain_maker = $5, \
             drain_held = NULL, version = version + 1 WHERE 1 = 1",
        );
        let drains = spec.state == BindingState::Draining;
        let sql = sql
            .bind(word(spec.mode)?)
            .bind(word(spec.state)?)
            .bind(spec.drain_until)
            .bind(claims(spec)?)
            .bind(tx.maker().filter(|_| drains))
            .and_in("id", Some(&ids))
            .then(" RETURNING id, version");
        let mut versions = HashMap::new();
        for row in (&mut *tx).rows(sql).await? {
            versions.insert(row.id::<BindingId>("id")?, row.int("version")?);
        }
        for binding in some {
            let version = binding.version + 1;
            if versions.get(&binding.id) != Some(&version) {
                return Err(Error::Stale);
            }
            tx.changed(Change::Account(binding.account.clone()));
            after.push(Binding {
                spec: spec.clone(),
                version,
                ..binding.clone()
            });
        }
    }
    Ok(after)
}

/// Takes a binding away at once.
///
/// # Errors
/// `Stale` when `binding.version` is not the stored one.
pub async fn delete(tx: &mut Tx, binding: &Binding) -> Result<()> {
    let sql = Sql::new("DELETE FROM bindings WHERE id = $1 AND version = $2");
    tx.run_fresh(sql.bind(&binding.id).bind(binding.version)).await?;
    tx.changed(Change::Account(binding.account.clone()));
    Ok(())
}

/// Ends what people of a connection hold in accounts that it is detached from: they have no other way in.
///
/// # Errors
/// When the database does not answer.
pub async fn end_held(tx: &mut Tx, connection: &ConnectionId, accounts: &[AccountId]) -> Result<()> {
    const REASON: &str = "binding_detached";
    for some in accounts.chunks(BATCH) {
        let theirs = |sql: Sql| {
            sql.and(
                "user_id IN (SELECT id FROM users WHERE connection =",
                Some(connection),
            )
            .then(")")
        };
        let handoffs = theirs(Sql::new("DELETE FROM handoffs WHERE 1 = 1"));
        let handoffs = handoffs.then(" AND app IN (SELECT id FROM apps WHERE 1 = 1");
        tx.run(handoffs.and_in("account", Some(some)).then(")")).await?;
        ended::grants(tx, REASON, |sql| theirs(sql).and_in("account", Some(some))).await?;
        ended::sessions(tx, REASON, |sql| {
            theirs(sql)
                .then(" AND app IN (SELECT id FROM apps WHERE 1 = 1")
                .and_in("account", Some(some))
                .then(")")
        })
        .await?;
    }
    Ok(())
}

/// Of one step: whose, of what, until when, on whose word.
type Step = (OrgId, ConnectionId, Timestamp, Option<String>);

/// Detaches the bindings whose time to drain is over, each with its event, and ends what is held through them.
/// Says how many. Several instances may do so at once: each binding is detached by one.
///
/// Whoever let it drain must still be somebody who could detach it. If not, the binding carries nobody, as was said,
/// but what hangs on it stays until somebody ends it who may, or turns it back; the log says so once.
///
/// # Errors
/// When the database does not answer; what was detached before stays so.
pub async fn detach_drained(store: &Store) -> Result<usize> {
    let mut db = store;
    let sql = Sql::new(select!(
        bindings,
        "WHERE state = 'draining' AND drain_until <= $1 AND drain_held IS NULL \
         ORDER BY drain_until LIMIT 1000"
    ));
    let mut due: BTreeMap<Step, Vec<BindingId>> = BTreeMap::new();
    for row in db.rows(sql.bind(store.clock().now())).await? {
        let until = row.time("drain_until")?;
        let maker = row.opt_text("drain_maker")?;
        let step = (row.id("org")?, row.id("connection")?, until, maker);
        due.entry(step).or_default().push(row.id("id")?);
    }
    let mut detached = 0;
    for (step, ids) in due {
        detached += match may_detach(store, &step).await? {
            true => detach(store, &step, &ids).await?,
            false => hold_back(store, &step, &ids).await?,
        };
    }
    Ok(detached)
}

/// Whether the one on whose word a binding drains may still detach it. Of one that drains since before this was
/// noted, nobody is known who may not.
async fn may_detach(store: &Store, (org, _, _, maker): &Step) -> Result<bool> {
    match maker {
        Some(maker) => {
            Maker::read(maker)?
                .may(store, org, (Permission::Administer, None))
                .await
        }
        None => Ok(true),
    }
}

async fn detach(store: &Store, step: &Step, ids: &[BindingId]) -> Result<usize> {
    let (_, _, until, _) = step;
    // Compared with the last moment at which it carried anything.
    let last = Some(Timestamp(until.0 - 1));
    let make = || detached(store, step, ids);
    let count = |draft: Draft| async move {
        let judged = draft.judge().await;
        judged
            .inspect_err(
                |error| tracing::warn!(%error, "whom a detached binding concerns could not be counted"),
            )
            .ok()
    };
    let made = impact::rehearse_since(last, make, count).await?;
    if made.answer > 0 {
        made.tx.commit_all(made.events).await?;
    }
    Ok(made.answer)
}

/// Detaches, and says how many were; not committed yet.
async fn detached(store: &Store, step: &Step, ids: &[BindingId]) -> Result<Made<usize>> {
    let (_, connection, until, _) = step;
    let mut tx = store.begin().await?;
    let (mut accounts, mut events) = (Vec::new(), Vec::new());
    for some in ids.chunks(BATCH) {
        // Whoever turned one back meanwhile, or was faster, keeps it.
        let sql = Sql::new(
            "UPDATE bindings SET state = 'detached', drain_until = NULL, drain_maker = NULL, \
             version = version + 1 WHERE state = 'draining' AND drain_until = $1",
        );
        let sql = sql
            .bind(*until)
            .and_in("id", Some(some))
            .then(concat!(" RETURNING ", bindings!()));
        for row in (&mut tx).rows(sql).await? {
            let binding = read(&row)?;
            let mut event = drained(store, step, &binding);
            event.change = Some(AuditChange {
                before: json!({ "connection": connection, "state": "draining", "drain_until": until }),
                after: json!({ "connection": connection, "state": "detached", "drain_until": null }),
            });
            events.push(event);
            tx.changed(Change::Account(binding.account.clone()));
            accounts.push(binding.account);
        }
    }
    if !accounts.is_empty() {
        end_held(&mut tx, connection, &accounts).await?;
    }
    Ok(Made {
        tx,
        events,
        answer: accounts.len(),
    })
}

/// Leaves bindings as they are, whose maker may not detach them any more, and says so.
async fn hold_back(store: &Store, step: &Step, ids: &[BindingId]) -> Result<usize> {
    let (_, _, until, _) = step;
    let mut tx = store.begin().await?;
    let mut events = Vec::new();
    for some in ids.chunks(BATCH) {
        let sql = Sql::new(
            "UPDATE bindings SET drain_held = $1 \
             WHERE state = 'draining' AND drain_held IS NULL AND drain_until = $2",
        );
        let sql = sql.bind(tx.now()).bind(*until).and_in("id", Some(some));
        for row in (&mut tx)
            .rows(sql.then(concat!(" RETURNING ", bindings!())))
            .await?
        {
            let mut event = drained(store, step, &read(&row)?);
            event.outcome = Outcome::Denied;
            event.reason = Some("maker_without_power".to_owned());
            events.push(event);
        }
    }
    if !events.is_empty() {
        tx.commit_all(events).await?;
    }
    Ok(0)
}

fn drained(store: &Store, (org, _, _, maker): &Step, binding: &Binding) -> AuditEvent {
    let mut actor = AuditActor::of(ActorKind::System);
    if let Some(Ok(Maker::Person(user))) = maker.as_deref().map(Maker::read) {
        actor.user = Some(user);
    }
    let mut event = audit::event(org, "system", "binding.detached", actor);
    let account = store.directory().account(&binding.account).cloned();
    let name = account.as_ref().map(|view| view.account.spec.name.as_str());
    event.target = Some(audit::target("binding", &binding.id, name));
    event.account = Some(binding.account.clone());
    event
}

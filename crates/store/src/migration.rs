//! Switching the identity provider: from one shared connection to another, in steps that can be taken back.
//!
//! `side_by_side` binds the new connection wherever the old one is bound. `cut_over` makes it the primary one,
//! lets the old one's bindings drain, and exchanges the identity keys of linked people, so that who they were
//! keeps everything and signs in through the new connection. Each step remembers what was before it.

mod link;

pub use link::{Link, approve_all, decide, link_on_sign_in, links, of_owners};

use crate::sql::{Paging, Row, Run, Sql, json, opt, word};
use crate::{Error, Result, Tx, binding, org};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use wire::{
    AccountId, Binding, BindingId, BindingMode, BindingSpec, BindingState, ConnectionId, ConnectionMigration,
    ConnectionMigrationId, LinkCounts, MigrationState, NewConnectionMigration, OrgId, Timestamp,
};

/// What a roll-back needs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Undo {
    /// Bindings of the new connection that the first step made.
    made: Vec<BindingId>,
    /// Bindings as they were before the first step.
    first: Vec<(BindingId, BindingSpec)>,
    /// Bindings as they were before the cut-over.
    cut_over: Vec<(BindingId, BindingSpec)>,
    /// The primary connection before the cut-over.
    primary: Option<ConnectionId>,
}

/// A migration with what only the store needs to know.
#[derive(Debug, Clone)]
pub struct Migration {
    /// What the API shows, without its counts.
    pub shown: ConnectionMigration,
    /// Whose.
    pub org: OrgId,
    undo: Undo,
}

/// What a step did.
pub struct Step {
    /// The migration after it.
    pub migration: Migration,
    /// Bindings, before (if they were there) and after (if they still are).
    pub bindings: Vec<(Option<Binding>, Option<Binding>)>,
    /// The people whose identities were exchanged.
    pub links: Vec<Link>,
}

fn read(row: &Row) -> Result<Migration> {
    let spec = NewConnectionMigration {
        from: row.id("from_connection")?,
        to: row.id("to_connection")?,
        domains: row.json("domains")?,
        link_on_sign_in: row.flag("link_on_sign_in")?,
    };
    Ok(Migration {
        shown: ConnectionMigration {
            id: row.id("id")?,
            spec,
            state: row.word("state")?,
            links: LinkCounts::default(),
            created_at: row.time("created_at")?,
            cut_over_at: row.opt_time("cut_over_at")?,
            version: row.int("version")?,
        },
        org: row.id("org")?,
        undo: row.json("undo")?,
    })
}

/// The migrations of an organisation.
///
/// # Errors
/// When the database does not answer.
pub async fn list(
    mut db: impl Run,
    org: &OrgId,
    page: &Paging<ConnectionMigrationId>,
) -> Result<Vec<Migration>> {
    let sql = Sql::new(select!(connection_migrations, "WHERE org = $1")).bind(org);
    db.rows(sql.page(page)).await?.iter().map(read).collect()
}

/// One.
///
/// # Errors
/// `NotFound`.
pub async fn get(db: impl Run, org: &OrgId, id: &ConnectionMigrationId) -> Result<Migration> {
    let sql = Sql::new(select!(connection_migrations, "WHERE id = $1 AND org = $2"));
    let row = opt(db, sql.bind(id).bind(org)).await?;
    read(&row.ok_or(Error::NotFound("connection migration"))?)
}

/// Begins: binds the new connection wherever the old one signs people in.
///
/// # Errors
/// `Conflict` when another one is not over yet.
pub async fn create(tx: &mut Tx, org: &OrgId, spec: NewConnectionMigration) -> Result<Step> {
    org::lock(tx, org).await?;
    let sql = Sql::new(
        "SELECT id FROM connection_migrations WHERE org = $1 AND state IN ('side_by_side', 'cut_over')",
    );
    if opt(&mut *tx, sql.bind(org)).await?.is_some() {
        let detail = "another migration is not over yet; complete it or roll it back first";
        return Err(Error::Conflict(detail.into()));
    }
    let mut undo = Undo::default();
    let mut bindings = Vec::new();
    let old = binding::hold(tx, org, &spec.from, None).await?;
    let new = by_account(binding::hold(tx, org, &spec.to, None).await?);
    let mut missing: Vec<(BindingSpec, Vec<AccountId>)> = Vec::new();
    for old in old.into_iter().filter(|b| b.spec.state == BindingState::Active) {
        let wanted = BindingSpec {
            mode: BindingMode::Allowed,
            state: BindingState::Active,
            drain_until: None,
            claims: old.spec.claims,
        };
        match new.get(&old.account) {
            Some(there) if there.spec.state == BindingState::Active => {}
            Some(there) => {
                undo.first.push((there.id.clone(), there.spec.clone()));
                let after = binding::update(tx, there, wanted).await?;
                bindings.push((Some(there.clone()), Some(after)));
            }
            None => match missing.iter_mut().find(|(spec, _)| *spec == wanted) {
                Some((_, accounts)) => accounts.push(old.account),
                None => missing.push((wanted, vec![old.account])),
            },
        }
    }
    for (wanted, accounts) in missing {
        for made in binding::create_many(tx, org, (&spec.to, &accounts), &wanted).await? {
            undo.made.push(made.id.clone());
            bindings.push((None, Some(made)));
        }
    }
    let shown = ConnectionMigration {
        id: ConnectionMigrationId::fresh(),
        spec,
        state: MigrationState::SideBySide,
        links: LinkCounts::default(),
        created_at: tx.now(),
        cut_over_at: None,
        version: 1,
    };
    let values = [
        ("id", (&shown.id).into()),
        ("org", org.into()),
        ("from_connection", (&shown.spec.from).into()),
        ("to_connection", (&shown.spec.to).into()),
        ("domains", json(&shown.spec.domains)?),
        ("link_on_sign_in", shown.spec.link_on_sign_in.into()),
        ("state", word(shown.state)?.into()),
        ("undo", json(&undo)?),
        ("created_at", shown.created_at.into()),
        ("version", 1.into()),
    ];
    tx.run(Sql::insert("connection_migrations", values)).await?;
    Ok(Step {
        migration: Migration {
            shown,
            org: org.clone(),
            undo,
        },
        bindings,
        links: Vec::new(),
    })
}

/// Cuts over: linked people sign in through the new connection from now on. Once more, it links those who were
/// approved meanwhile.
///
/// # Errors
/// `Stale`; `Conflict` when it is over, or an approved link does not hold any more (somebody was disabled, or
/// holds something); `Invalid` at `/drain_until` when it is needed.
pub async fn cut_over(tx: &mut Tx, before: &Migration, drain_until: Option<Timestamp>) -> Result<Step> {
    let spec = &before.shown.spec;
    if !matches!(
        before.shown.state,
        MigrationState::SideBySide | MigrationState::CutOver
    ) {
        return Err(Error::Conflict("the migration is over".into()));
    }
    org::lock(tx, &before.org).await?;
    let mut undo = before.undo.clone();
    let mut bindings = Vec::new();
    let old = binding::hold(tx, &before.org, &spec.from, None).await?;
    let new = by_account(binding::hold(tx, &before.org, &spec.to, None).await?);
    for old in old.iter().filter(|b| b.spec.state == BindingState::Active) {
        let is_only = old.spec.mode == BindingMode::Exclusive;
        if drain_until.is_none() {
            if is_only {
                let detail = "needed, because the old connection is the only one of an account";
                return Err(Error::invalid("/drain_until", detail));
            }
            continue;
        }
        remember(&mut undo.cut_over, old);
        let drains = BindingSpec {
            state: BindingState::Draining,
            drain_until,
            ..old.spec.clone()
        };
        bindings.push((Some(old.clone()), Some(binding::update(tx, old, drains).await?)));
        // What was the only connection there hands that on.
        if let Some(new) = new
            .get(&old.account)
            .filter(|b| is_only && b.spec.state == BindingState::Active)
        {
            remember(&mut undo.cut_over, new);
            let only = BindingSpec {
                mode: BindingMode::Exclusive,
                ..new.spec.clone()
            };
            bindings.push((Some(new.clone()), Some(binding::update(tx, new, only).await?)));
        }
    }
    let organisation = org::get(&mut *tx, &before.org).await?;
    if before.shown.state == MigrationState::SideBySide {
        undo.primary.clone_from(&organisation.spec.primary_connection);
        set_primary(tx, organisation, Some(spec.to.clone())).await?;
    }
    let links = link::exchange_approved(tx, before).await?;
    let cut_over_at = before.shown.cut_over_at.or(Some(tx.now()));
    let migration = write(tx, before, (MigrationState::CutOver, cut_over_at, undo)).await?;
    Ok(Step {
        migration,
        bindings,
        links,
    })
}

/// Takes the last step back. From the cut-over it leads to side by side, and from there to the beginning. What
/// linked people began since the cut-over (sessions, grants, API tokens) ends.
///
/// # Errors
/// `Stale`; `Conflict` when it is over.
pub async fn roll_back(tx: &mut Tx, before: &Migration) -> Result<Step> {
    org::lock(tx, &before.org).await?;
    let mut undo = before.undo.clone();
    let mut bindings = Vec::new();
    let mut links = Vec::new();
    let spec = &before.shown.spec;
    let mut held = binding::hold(tx, &before.org, &spec.from, None).await?;
    held.extend(binding::hold(tx, &before.org, &spec.to, None).await?);
    let (state, restore) = match before.shown.state {
        MigrationState::CutOver => {
            links = link::exchange_back(tx, before).await?;
            let organisation = org::get(&mut *tx, &before.org).await?;
            let primary = undo.primary.take();
            set_primary(tx, organisation, primary).await?;
            (MigrationState::SideBySide, std::mem::take(&mut undo.cut_over))
        }
        MigrationState::SideBySide => {
            for made in std::mem::take(&mut undo.made) {
                if let Some(binding) = held.iter().find(|b| b.id == made) {
                    binding::delete(tx, binding).await?;
                    let account = std::slice::from_ref(&binding.account);
                    binding::end_held(tx, &binding.connection, account).await?;
                    bindings.push((Some(binding.clone()), None));
                }
            }
            (MigrationState::RolledBack, std::mem::take(&mut undo.first))
        }
        MigrationState::RolledBack | MigrationState::Completed => {
            return Err(Error::Conflict("the migration is over".into()));
        }
    };
    // What is to be the only connection again comes last: until then another one is.
    let mut restore: Vec<_> = restore
        .into_iter()
        .filter_map(|(id, spec)| Some((held.iter().find(|b| b.id == id)?, spec)))
        .collect();
    restore.sort_by_key(|(_, spec)| spec.mode == BindingMode::Exclusive);
    for (binding, spec) in restore {
        if binding.spec != spec {
            let after = binding::update(tx, binding, spec).await?;
            bindings.push((Some(binding.clone()), Some(after)));
        }
    }
    let cut_over_at = None;
    let migration = write(tx, before, (state, cut_over_at, undo)).await?;
    Ok(Step {
        migration,
        bindings,
        links,
    })
}

/// Ends a migration that was cut over: nobody is linked any more, and it cannot be rolled back.
///
/// # Errors
/// `Stale`; `Conflict` when it was not cut over.
pub async fn complete(tx: &mut Tx, before: &Migration) -> Result<Migration> {
    if before.shown.state != MigrationState::CutOver {
        return Err(Error::Conflict("only what was cut over can be completed".into()));
    }
    let after = (
        MigrationState::Completed,
        before.shown.cut_over_at,
        Undo::default(),
    );
    write(tx, before, after).await
}

fn by_account(bindings: Vec<Binding>) -> HashMap<AccountId, Binding> {
    let pairs = bindings.into_iter().map(|b| (b.account.clone(), b));
    pairs.collect()
}

/// The first of several steps is the one that is taken back.
fn remember(undo: &mut Vec<(BindingId, BindingSpec)>, binding: &Binding) {
    if !undo.iter().any(|(id, _)| *id == binding.id) {
        undo.push((binding.id.clone(), binding.spec.clone()));
    }
}

async fn set_primary(
    tx: &mut Tx,
    organisation: wire::Organisation,
    primary: Option<ConnectionId>,
) -> Result<()> {
    if organisation.spec.primary_connection == primary {
        return Ok(());
    }
    let spec = wire::OrganisationSpec {
        primary_connection: primary,
        ..organisation.spec.clone()
    };
    org::update(tx, &organisation, spec).await.map(drop)
}

async fn write(
    tx: &mut Tx,
    before: &Migration,
    (state, cut_over_at, undo): (MigrationState, Option<Timestamp>, Undo),
) -> Result<Migration> {
    let sql = Sql::new(
        "UPDATE connection_migrations SET state = $1, cut_over_at = $2, undo = $3, version = version + 1 \
         WHERE id = $4 AND version = $5",
    );
    let sql = sql.bind(word(state)?).bind(cut_over_at).bind(json(&undo)?);
    let sql = sql.bind(&before.shown.id).bind(before.shown.version);
    tx.run_fresh(sql).await?;
    Ok(Migration {
        shown: ConnectionMigration {
            state,
            cut_over_at,
            version: before.shown.version + 1,
            ..before.shown.clone()
        },
        org: before.org.clone(),
        undo,
    })
}

//! What policies and groups have in common: both belong to one account and are only a spec with a name.

use crate::answer::Open;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, NamedQuery};
use crate::power::{self, Act};
use crate::record;
use crate::write::Write;
use axum::response::Response;
use serde::Serialize;
use store::{Paging, audit::target, rule::Rule};
use wire::{Account, AccountId, App, AuditEvent, Group, Page};

/// What differs between the two.
pub(crate) struct Kind<R: Rule> {
    /// `policy`: begins actions.
    pub(crate) noun: &'static str,
    /// `policies`: the path.
    pub(crate) path: &'static str,
    pub(crate) spec: fn(&R) -> &R::Spec,
    /// Checks a spec beside the groups of its account.
    pub(crate) check: fn(&R::Spec, &[Group]) -> Answer<()>,
    /// Whether it lets in whoever comes.
    pub(crate) bypasses: fn(&R::Spec) -> bool,
}

pub(crate) async fn list<R: Rule>(caller: &Caller, query: NamedQuery) -> Answer<Page<R>> {
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let mine = caller.accounts_within(Permission::Read, query.account);
    let items = store::rule::named::<R>(
        caller.store(),
        &caller.org,
        (mine.as_deref(), query.q.as_deref()),
        &paging,
    )
    .await?;
    Ok(caller.cursors().page(&caller.org, items, paging.limit, R::id))
}

pub(crate) async fn load<R: Rule>(caller: &Caller, id: &R::Id) -> Answer<R> {
    let rule = store::rule::get::<R>(caller.store(), &caller.org, id).await?;
    caller.require(Permission::Read, Scope::Account(rule.account()))?;
    Ok(rule)
}

/// As [`load`], when it is to be changed.
pub(crate) async fn load_to_edit<R: Rule>(caller: &Caller, id: &R::Id) -> Answer<R> {
    let rule: R = load(caller, id).await?;
    caller.require(Permission::Edit, Scope::Account(rule.account()))?;
    Ok(rule)
}

pub(crate) async fn create<R: Rule + Open>(
    caller: &Caller,
    kind: &Kind<R>,
    write: &Write,
    mut body: Body,
) -> Answer<Response> {
    let account: Account = caller.account(&body.need("account")?, Permission::Edit).await?;
    let spec: R::Spec = body.read()?;
    (kind.check)(&spec, &groups(caller, &account.id).await?)?;
    let act = Act::MakeRule {
        account: &account.id,
        bypasses: (kind.bypasses)(&spec),
    };
    let warrant = write.warrant(caller, &act)?;
    let mut tx = caller.begin().await?;
    let rule: R = store::rule::create(&mut tx, &caller.org, &account.id, spec).await?;
    let event = event(caller, kind, ("create", &rule), (None, Some((kind.spec)(&rule))));
    write.commit(&warrant, tx, vec![event]).await?;
    let path = format!("{}/{}", kind.path, rule.id());
    Ok(write.created(&path, rule.version(), &rule))
}

pub(crate) async fn patch<R: Rule + Open>(
    caller: &Caller,
    kind: &Kind<R>,
    id: &R::Id,
    write: &Write,
    body: Body,
) -> Answer<Response>
where
    R::Spec: PartialEq + Serialize,
{
    let rule: R = load_to_edit(caller, id).await?;
    write.expects(rule.version())?;
    let before = (kind.spec)(&rule);
    let spec: R::Spec = body.merge(before)?;
    if spec == *before {
        return Ok(write.changed(rule.version(), &rule));
    }
    (kind.check)(&spec, &groups(caller, rule.account()).await?)?;
    let act = Act::ChangeRule {
        account: rule.account(),
        in_force: power::differ(before, &spec, &["name"]),
    };
    let warrant = write.warrant(caller, &act)?;
    let mut tx = caller.begin().await?;
    let after: R = store::rule::update(&mut tx, &rule, spec).await?;
    let event = event(
        caller,
        kind,
        ("update", &after),
        (Some(before), Some((kind.spec)(&after))),
    );
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.changed(after.version(), &after))
}

pub(crate) async fn delete<R: Rule + Open>(
    caller: &Caller,
    kind: &Kind<R>,
    rule: &R,
    write: &Write,
) -> Answer<Response> {
    let warrant = write.warrant(caller, &Act::DeleteRule(rule.account()))?;
    write.expects(rule.version())?;
    let mut tx = caller.begin().await?;
    store::rule::delete(&mut tx, rule).await?;
    let event = event(caller, kind, ("delete", rule), (Some((kind.spec)(rule)), None));
    write.commit(&warrant, tx, vec![event]).await?;
    Ok(write.deleted(rule))
}

/// All groups of an account.
pub(crate) async fn groups(caller: &Caller, account: &AccountId) -> Answer<Vec<Group>> {
    all(caller, account).await
}

/// All policies, or all groups, of an account.
pub(crate) async fn all<R: Rule>(caller: &Caller, account: &AccountId) -> Answer<Vec<R>> {
    let mut found: Vec<R> = Vec::new();
    loop {
        let paging = Paging {
            limit: 200,
            after: found.last().map(|r| r.id().clone()),
        };
        let only = std::slice::from_ref(account);
        let mut page = store::rule::list::<R>(caller.store(), &caller.org, Some(only), &paging).await?;
        let more = page.len() > 200;
        page.truncate(200);
        found.append(&mut page);
        if !more {
            return Ok(found);
        }
    }
}

/// All apps of an account.
pub(crate) async fn apps(caller: &Caller, account: &AccountId) -> Answer<Vec<App>> {
    let mut found: Vec<App> = Vec::new();
    loop {
        let paging = Paging {
            limit: 200,
            after: found.last().map(|a| a.id.clone()),
        };
        let only = std::slice::from_ref(account);
        let mut page = store::app::list(caller.store(), &caller.org, Some(only), &paging).await?;
        let more = page.len() > 200;
        page.truncate(200);
        found.append(&mut page);
        if !more {
            return Ok(found);
        }
    }
}

/// Refuses to take away what others still use.
pub(crate) fn refuse_if_used(noun: &str, users: &[&str]) -> Answer<()> {
    if users.is_empty() {
        return Ok(());
    }
    let some: Vec<_> = users.iter().take(5).map(|name| format!("“{name}”")).collect();
    Err(Fault::conflict(format!(
        "still used by {noun} {}",
        some.join(", ")
    )))
}

fn event<R: Rule>(
    caller: &Caller,
    kind: &Kind<R>,
    (verb, rule): (&str, &R),
    (before, after): (Option<&R::Spec>, Option<&R::Spec>),
) -> AuditEvent {
    let about = target(kind.noun, rule.id(), Some(R::name((kind.spec)(rule))));
    let action = format!("{}.{verb}", kind.noun);
    caller.event(
        &action,
        Some(rule.account()),
        Some(about),
        record::change(before, after),
    )
}

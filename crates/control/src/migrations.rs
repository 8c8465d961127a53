//! `/connection-migrations`: switching the identity provider, in steps that can be taken back. Two people are
//! one only if an administrator says so.

use crate::answer::Json;
use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, PageQuery, Query};
use crate::power::{Act, Warrant};
use crate::tester::person_ref;
use crate::write::{Write, shown};
use crate::{Control, bindings, check, record};
use axum::response::Response;
use serde_json::json;
use std::collections::HashMap;
use store::impact::Made;
use store::migration::{self, Link, Migration, Step};
use store::{Released, audit::target};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AuditEvent, ConnectionId, ConnectionKind, ConnectionLink, ConnectionMigration, ConnectionMigrationId,
    CutOver, DecideLink, LinkCounts, LinkDecision, LinkState, MigrationState, NewConnectionMigration, Page,
    UserId,
};

/// How long a binding may drain, in seconds: a leap year.
const LONGEST_DRAIN: i64 = 366 * 86_400;

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get))
        .routes(routes!(cut_over))
        .routes(routes!(roll_back))
        .routes(routes!(complete))
        .routes(routes!(list_links, decide))
        .routes(routes!(approve_all))
}

/// The organisation's migrations
#[utoipa::path(get, path = "/connection-migrations", tag = "connection-migrations", params(PageQuery),
    responses((status = 200, body = Page<ConnectionMigration>)))]
async fn list(caller: Caller, Query(query): Query<PageQuery>) -> Answer<Json<Page<ConnectionMigration>>> {
    caller.require(Permission::Read, Scope::Organisation)?;
    let paging = caller
        .cursors()
        .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let found = migration::list(caller.store(), &caller.org, &paging).await?;
    let mut items = Vec::with_capacity(found.len());
    for migration in found {
        items.push(counted(&caller, migration).await?);
    }
    Ok(Json(caller.cursors().page(
        &caller.org,
        items,
        paging.limit,
        |m| &m.id,
    )))
}

/// Begins a migration: binds the new connection wherever the old one signs people in, so that both do
///
/// Where the old connection is `exclusive`, the new one signs nobody in to that account before the cut-over.
/// A dry run says which links the rule would propose.
#[utoipa::path(post, path = "/connection-migrations", tag = "connection-migrations",
    request_body = NewConnectionMigration,
    responses((status = 201, body = ConnectionMigration), (status = 200, body = ConnectionMigration)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    let warrant = write.warrant(&caller, &Act::Migrate { of_owner: false })?;
    let mut spec: NewConnectionMigration = body.read()?;
    check_ends(&caller, &spec).await?;
    check_domains(&mut spec.domains)?;
    let after = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        let step = migration::create(&mut tx, &caller.org, spec.clone()).await?;
        let links = migration::links(&mut tx, &step.migration).await?;
        let after = with_counts(step.migration.shown.clone(), &links);
        let mut events = binding_events(&caller, &step);
        let change = json!({"from": after.spec.from, "to": after.spec.to, "domains": after.spec.domains,
            "link_on_sign_in": after.spec.link_on_sign_in, "bindings": step.bindings.len()});
        let change = record::change(None, Some(&change));
        events.insert(0, event(&caller, "create", &after.id, change));
        let answer = (warrant, after);
        Ok(Made { tx, events, answer })
    });
    let after = after.await?;
    let path = format!("connection-migrations/{}", after.id);
    Ok(write.created(&path, after.version, &after))
}

/// One migration
#[utoipa::path(get, path = "/connection-migrations/{id}", tag = "connection-migrations",
    responses((status = 200, body = ConnectionMigration)))]
async fn get(caller: Caller, Id(id): Id<ConnectionMigrationId>) -> Answer<Response> {
    let migration = counted(&caller, load(&caller, &id, Permission::Read).await?).await?;
    Ok(shown(migration.version, &migration))
}

/// Cuts over: the new connection becomes the primary one, and linked people sign in through it
///
/// They keep roles, grants, groups and sessions. Approved links only; send it again to link those who were
/// approved later. A dry run says who gains, keeps and loses access. If one of them is an owner, only an owner
/// does it.
#[utoipa::path(post, path = "/connection-migrations/{id}/cut-over", tag = "connection-migrations",
    request_body = CutOver, responses((status = 200, body = ConnectionMigration)))]
async fn cut_over(
    caller: Caller,
    Id(id): Id<ConnectionMigrationId>,
    write: Write,
    body: Body,
) -> Answer<Response> {
    let before = load(&caller, &id, Permission::Administer).await?;
    write.expects(before.shown.version)?;
    let asked: CutOver = body.read()?;
    let now = caller.store().clock().now();
    if let Some(until) = asked.drain_until
        && (until <= now || until > now.plus_seconds(LONGEST_DRAIN))
    {
        return Err(Fault::invalid("/drain_until", "in the future, within a year"));
    }
    let to = store::connection::get(caller.store(), &caller.org, &before.shown.spec.to).await?;
    if !to.spec.enabled {
        return Err(Fault::conflict("the new connection is disabled"));
    }
    write.warrant(&caller, &Act::Migrate { of_owner: false })?;
    let after = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        let step = migration::cut_over(&mut tx, &before, asked.drain_until).await?;
        let warrant = step_warrant(&caller, &write, (&mut tx, &step)).await?;
        finish(warrant, tx, (&before, step, "cut_over")).await
    });
    let after = after.await?;
    Ok(write.changed(after.version, &after))
}

/// Takes the last step back: from the cut-over to side by side, from there to the beginning
///
/// Linked people sign in through the old connection again; bindings and the primary connection are as they were
/// before the step. Sessions, grants and API tokens that linked people began since the cut-over end. If one of them
/// is an owner by now, only an owner does it.
#[utoipa::path(post, path = "/connection-migrations/{id}/roll-back", tag = "connection-migrations",
    responses((status = 200, body = ConnectionMigration)))]
async fn roll_back(caller: Caller, Id(id): Id<ConnectionMigrationId>, write: Write) -> Answer<Response> {
    let before = load(&caller, &id, Permission::Administer).await?;
    write.expects(before.shown.version)?;
    write.warrant(&caller, &Act::Migrate { of_owner: false })?;
    let after = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        let step = migration::roll_back(&mut tx, &before).await?;
        let warrant = step_warrant(&caller, &write, (&mut tx, &step)).await?;
        finish(warrant, tx, (&before, step, "roll_back")).await
    });
    let after = after.await?;
    Ok(write.changed(after.version, &after))
}

/// Ends a migration that was cut over; it cannot be rolled back any more
#[utoipa::path(post, path = "/connection-migrations/{id}/complete", tag = "connection-migrations",
    responses((status = 200, body = ConnectionMigration)))]
async fn complete(caller: Caller, Id(id): Id<ConnectionMigrationId>, write: Write) -> Answer<Response> {
    let before = load(&caller, &id, Permission::Administer).await?;
    write.expects(before.shown.version)?;
    let warrant = write.warrant(&caller, &Act::Migrate { of_owner: false })?;
    let mut tx = caller.begin().await?;
    let after = migration::complete(&mut tx, &before).await?;
    let step = Step {
        migration: after,
        bindings: Vec::new(),
        links: Vec::new(),
    };
    let made = finish(warrant, tx, (&before, step, "complete")).await?;
    write.commit(&warrant, made.tx, made.events).await?;
    let (_, after) = made.answer;
    Ok(write.changed(after.version, &after))
}

#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct LinkQuery {
    /// Only those in this state.
    #[param(inline)]
    state: Option<LinkState>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Who is who: what the rule proposes and what was decided, by the person of the old connection
#[utoipa::path(get, path = "/connection-migrations/{id}/links", tag = "connection-migrations", params(LinkQuery),
    responses((status = 200, body = Page<ConnectionLink>)))]
async fn list_links(
    caller: Caller,
    Id(id): Id<ConnectionMigrationId>,
    Query(query): Query<LinkQuery>,
) -> Answer<Json<Page<Released<ConnectionLink>>>> {
    let migration = load(&caller, &id, Permission::Read).await?;
    let cursors = caller.cursors();
    let limit = crate::input::limit(query.limit)? as usize;
    let after: Option<String> = match query.cursor.as_deref() {
        Some(cursor) => Some(cursors.read(&caller.org, cursor)?),
        None => None,
    };
    let mut links = migration::links(caller.store(), &migration).await?;
    links.retain(|link| query.state.is_none_or(|state| link.state == state));
    links.retain(|link| after.as_ref().is_none_or(|after| place(link) > *after));
    let more = links.len() > limit;
    links.truncate(limit);
    let next = links.last().filter(|_| more);
    let next = next.map(|link| cursors.write(&caller.org, &place(link)));
    let items = caller.release().all(named(&caller, links).await?).await?;
    Ok(Json(Page { items, next }))
}

/// Approves, rejects or leaves open that two are one person, whether the rule proposed them or not
///
/// The person of the new connection must not hold anything yet: no role, grant, API token, no place in a group.
/// Only an owner approves a pair with an owner in it.
#[utoipa::path(post, path = "/connection-migrations/{id}/links", tag = "connection-migrations",
    request_body = DecideLink, responses((status = 200, body = ConnectionLink)))]
async fn decide(
    caller: Caller,
    Id(id): Id<ConnectionMigrationId>,
    write: Write,
    body: Body,
) -> Answer<Response> {
    let migration = load(&caller, &id, Permission::Administer).await?;
    let asked: DecideLink = body.read()?;
    let find = async |pointer: &str, id: &UserId| {
        let found = store::user::get(caller.store(), &caller.org, id).await;
        found.map_err(|e| Fault::from(e).reference(pointer, "user"))
    };
    let old = find("/from_user", &asked.from_user).await?;
    let new = find("/to_user", &asked.to_user).await?;
    let mut tx = caller.begin().await?;
    let pair = Link {
        from_user: old.user.id.clone(),
        to_user: new.user.id.clone(),
        state: LinkState::Proposed,
        manual: true,
    };
    let act = Act::DecideLink {
        decision: asked.state,
        of_owner: !migration::of_owners(&mut tx, &[pair]).await?.is_empty(),
    };
    let warrant = write.warrant(&caller, &act)?;
    let link = migration::decide(&mut tx, &migration, (&old, &new), asked.state).await?;
    let verb = match asked.state {
        LinkDecision::Approved => "approve",
        LinkDecision::Rejected => "reject",
        LinkDecision::Proposed => "reopen",
    };
    let event = link_event(&caller, verb, (&id, &link));
    write.commit(&warrant, tx, vec![event]).await?;
    let shown = ConnectionLink {
        from_user: person_ref(&old),
        to_user: person_ref(&new),
        state: link.state,
        manual: link.manual,
    };
    Ok(unversioned(write.changed(1, &caller.release().one(shown).await?)))
}

/// Approves all links that the rule proposes now
///
/// Left out are those whose person of the old connection has a role, which needs a decision about the pair, and
/// those whose person of the new connection holds something already.
#[utoipa::path(post, path = "/connection-migrations/{id}/links/approve-all", tag = "connection-migrations",
    responses((status = 200, body = ConnectionMigration)))]
async fn approve_all(caller: Caller, Id(id): Id<ConnectionMigrationId>, write: Write) -> Answer<Response> {
    let migration = load(&caller, &id, Permission::Administer).await?;
    // Nobody with a role is among them.
    let warrant = write.warrant(&caller, &Act::Migrate { of_owner: false })?;
    let mut tx = caller.begin().await?;
    let approved = migration::approve_all(&mut tx, &migration).await?;
    let links = migration::links(&mut tx, &migration).await?;
    let after = with_counts(migration.shown.clone(), &links);
    let events: Vec<_> = approved
        .iter()
        .map(|link| link_event(&caller, "approve", (&id, link)))
        .collect();
    if events.is_empty() {
        drop(tx);
    } else {
        write.commit(&warrant, tx, events).await?;
    }
    Ok(write.changed(after.version, &after))
}

/// A migration, if the caller may see it. It concerns the organisation: to whoever has roles in accounts only,
/// there is none.
async fn load(caller: &Caller, id: &ConnectionMigrationId, permission: Permission) -> Answer<Migration> {
    let found = migration::get(caller.store(), &caller.org, id).await?;
    if !caller.may(Permission::Read, Scope::Organisation) {
        return Err(Fault::not_found());
    }
    caller.require(permission, Scope::Organisation)?;
    Ok(found)
}

/// Judges a step by those whose identities it exchanged. Roles may have been given since their links were approved,
/// or since the cut-over: whoever says who somebody is gives away all that they have now.
async fn step_warrant<'a>(
    caller: &'a Caller,
    write: &Write,
    (tx, step): (&mut store::Tx, &Step),
) -> Answer<Warrant<'a>> {
    let of_owner = !migration::of_owners(tx, &step.links).await?.is_empty();
    write.warrant(caller, &Act::Migrate { of_owner })
}

async fn check_ends(caller: &Caller, spec: &NewConnectionMigration) -> Answer<()> {
    if spec.from == spec.to {
        return Err(Fault::invalid("/to", "another connection than `from`"));
    }
    let check = async |pointer: &str, id: &ConnectionId| {
        let found = store::connection::get(caller.store(), &caller.org, id).await;
        let connection = found.map_err(|e| Fault::from(e).reference(pointer, "connection"))?;
        if connection.account.is_some() {
            return Err(Fault::invalid(pointer, "it belongs to one account"));
        }
        if connection.spec.kind == ConnectionKind::Password {
            let detail = "people with a local password stay as they are, so that somebody can always sign in";
            return Err(Fault::invalid(pointer, detail));
        }
        Ok(connection)
    };
    check("/from", &spec.from).await?;
    if !check("/to", &spec.to).await?.spec.enabled {
        return Err(Fault::invalid("/to", "it is disabled"));
    }
    Ok(())
}

fn check_domains(domains: &mut Vec<String>) -> Answer<()> {
    if !(1..=50).contains(&domains.len()) {
        return Err(Fault::invalid("/domains", "1 to 50 domains"));
    }
    for (i, domain) in domains.iter_mut().enumerate() {
        domain.make_ascii_lowercase();
        if !domain.contains('.') || !wire::is_domain(domain) {
            let detail = "a domain without `@`, such as `example.com`";
            return Err(Fault::invalid(format!("/domains/{i}"), detail));
        }
    }
    domains.sort_unstable();
    domains.dedup();
    check::at_most("/domains", domains, 50)
}

/// A step that was made, with its events and the migration after it.
async fn finish<'a>(
    warrant: Warrant<'a>,
    mut tx: store::Tx,
    (before, step, verb): (&Migration, Step, &str),
) -> Answer<Made<(Warrant<'a>, ConnectionMigration)>> {
    let caller = warrant.caller();
    let links = migration::links(&mut tx, &step.migration).await?;
    let after = with_counts(step.migration.shown.clone(), &links);
    let mut events = binding_events(caller, &step);
    for link in &step.links {
        let verb = if link.state == LinkState::Linked {
            "link"
        } else {
            "unlink"
        };
        events.push(link_event(caller, verb, (&after.id, link)));
    }
    let state = |state: MigrationState, links: usize| json!({"state": state, "links": links});
    let (was, is) = (state(before.shown.state, 0), state(after.state, step.links.len()));
    let change = record::change(Some(&was), Some(&is));
    events.insert(0, event(caller, verb, &after.id, change));
    let answer = (warrant, after);
    Ok(Made { tx, events, answer })
}

/// Each binding has its own event, as if it had been changed by itself.
fn binding_events(caller: &Caller, step: &Step) -> Vec<AuditEvent> {
    let event = |(before, after): &(Option<wire::Binding>, Option<wire::Binding>)| {
        let (action, binding) = match (before, after) {
            (None, Some(after)) => ("binding.create", after),
            (Some(_), Some(after)) => ("binding.update", after),
            (Some(before), None) => ("binding.delete", before),
            (None, None) => return None,
        };
        let specs = (before.as_ref().map(|b| &b.spec), after.as_ref().map(|b| &b.spec));
        Some(bindings::event(caller, action, binding, specs))
    };
    step.bindings.iter().filter_map(event).collect()
}

fn event(
    caller: &Caller,
    verb: &str,
    id: &ConnectionMigrationId,
    change: Option<wire::AuditChange>,
) -> AuditEvent {
    let about = target("connection_migration", id, None);
    caller.event(&format!("connection_migration.{verb}"), None, Some(about), change)
}

fn link_event(caller: &Caller, verb: &str, (id, link): (&ConnectionMigrationId, &Link)) -> AuditEvent {
    let about = target("user", &link.from_user, None);
    let change =
        json!({"migration": id, "linked_user": link.to_user, "state": link.state, "manual": link.manual});
    let change = record::change(None, Some(&change));
    caller.event(&format!("connection_migration.{verb}"), None, Some(about), change)
}

async fn counted(caller: &Caller, migration: Migration) -> Answer<ConnectionMigration> {
    let links = migration::links(caller.store(), &migration).await?;
    Ok(with_counts(migration.shown, &links))
}

fn with_counts(mut shown: ConnectionMigration, links: &[Link]) -> ConnectionMigration {
    let mut counts = LinkCounts::default();
    for link in links {
        *(match link.state {
            LinkState::Proposed => &mut counts.proposed,
            LinkState::Approved => &mut counts.approved,
            LinkState::Rejected => &mut counts.rejected,
            LinkState::Linked => &mut counts.linked,
        }) += 1;
    }
    shown.links = counts;
    shown
}

/// Where a link is in the list.
fn place(link: &Link) -> String {
    format!("{} {}", link.from_user, link.to_user)
}

/// A link has no version.
fn unversioned(mut response: Response) -> Response {
    response.headers_mut().remove(http::header::ETAG);
    response
}

async fn named(caller: &Caller, links: Vec<Link>) -> Answer<Vec<ConnectionLink>> {
    let ids: Vec<UserId> = links
        .iter()
        .flat_map(|link| [link.from_user.clone(), link.to_user.clone()])
        .collect();
    let people = store::user::some(caller.store(), &caller.org, &ids).await?;
    let people: HashMap<_, _> = people.iter().map(|p| (&p.user.id, person_ref(p))).collect();
    let one = |link: Link| {
        Some(ConnectionLink {
            from_user: people.get(&link.from_user)?.clone(),
            to_user: people.get(&link.to_user)?.clone(),
            state: link.state,
            manual: link.manual,
        })
    };
    Ok(links.into_iter().filter_map(one).collect())
}

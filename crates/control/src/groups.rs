//! `/groups`: groups of people, for policies to ask about.

use crate::answer::Json;
use crate::caller::Caller;
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, NamedQuery, PageQuery, Query};
use crate::rules::{self, Kind};
use crate::write::{Write, shown};
use crate::{Control, check};
use axum::response::Response;
use policy::{Facts, Ruleset};
use store::{Paging, Released};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    Actor, Group, GroupId, GroupMember, GroupSpec, NewGroup, Page, Policy, PolicyDecision, PolicySpec,
    RuleRef, Selector, UserId,
};

/// People read at once.
const STEP: u32 = 5_000;
/// People looked at for one page of members at the most.
const MOST: usize = 20_000;

const KIND: Kind<Group> = Kind {
    noun: "group",
    path: "groups",
    spec: |group| &group.spec,
    check: |spec, _| {
        check::name("/name", &spec.name)?;
        check_size("", spec)?;
        policy::check_group(spec).map_err(|e| Fault::compile("", e))
    },
    bypasses: |_| false,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, patch, delete))
        .routes(routes!(members))
}

/// Groups that the caller may see
#[utoipa::path(get, path = "/groups", tag = "groups", params(NamedQuery),
    responses((status = 200, body = Page<Group>)))]
async fn list(caller: Caller, Query(query): Query<NamedQuery>) -> Answer<Json<Page<Group>>> {
    rules::list(&caller, query).await.map(Json)
}

/// Makes a group
#[utoipa::path(post, path = "/groups", tag = "groups", request_body = NewGroup,
    responses((status = 201, body = Group), (status = 200, body = Group)))]
async fn create(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    check_members(&caller, &body).await?;
    rules::create(&caller, &KIND, &write, body).await
}

/// One group
#[utoipa::path(get, path = "/groups/{id}", tag = "groups", responses((status = 200, body = Group)))]
async fn get(caller: Caller, Id(id): Id<GroupId>) -> Answer {
    let group: Group = rules::load(&caller, &id).await?;
    Ok(shown(group.version, &group))
}

/// Changes a group
#[utoipa::path(patch, path = "/groups/{id}", tag = "groups",
    request_body(content = GroupSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Group)))]
async fn patch(caller: Caller, Id(id): Id<GroupId>, write: Write, body: Body) -> Answer<Response> {
    let _: Group = rules::load_to_edit(&caller, &id).await?;
    check_members(&caller, &body).await?;
    rules::patch(&caller, &KIND, &id, &write, body).await
}

/// Deletes a group that no policy names
#[utoipa::path(delete, path = "/groups/{id}", tag = "groups",
    responses((status = 204), (status = 200, body = Group)))]
async fn delete(caller: Caller, Id(id): Id<GroupId>, write: Write) -> Answer<Response> {
    let group: Group = rules::load_to_edit(&caller, &id).await?;
    let policies: Vec<Policy> = rules::all(&caller, &group.account).await?;
    let names = |policy: &&Policy| {
        let spec = &policy.spec;
        let mut selectors = spec.include.iter().chain(&spec.require).chain(&spec.exclude);
        selectors.any(|s| matches!(s, Selector::Group { group } if *group == id))
    };
    let users: Vec<_> = policies
        .iter()
        .filter(names)
        .map(|p| p.spec.name.as_str())
        .collect();
    rules::refuse_if_used("policy", &users)?;
    rules::delete(&caller, &KIND, &group, &write).await
}

/// Who is in a group now, by name or by rule
///
/// Of the people that the account's connections know, in the order of their identifiers. Rules about the request
/// (its address, its agent, its path) put nobody in here, because there is none. A page may hold fewer people
/// than asked for, even none, and still have a next one.
#[utoipa::path(get, path = "/groups/{id}/members", tag = "groups", params(PageQuery),
    responses((status = 200, body = Page<GroupMember>)))]
async fn members(
    caller: Caller,
    Id(id): Id<GroupId>,
    Query(query): Query<PageQuery>,
) -> Answer<Json<Page<Released<GroupMember>>>> {
    let group: Group = rules::load(&caller, &id).await?;
    let mut paging: Paging<UserId> =
        caller
            .cursors()
            .paging(&caller.org, query.limit, query.cursor.as_deref())?;
    let snapshot = caller.store().directory();
    let account = snapshot.account(&group.account).ok_or_else(Fault::not_found)?;
    let connections: Vec<_> = account.connections.iter().map(|c| c.id.clone()).collect();
    let rules = rules_of(&group)?;
    let at = Some(caller.store().clock().now());
    let wanted = paging.limit as usize;
    paging.limit = STEP;
    let (mut items, mut last, mut read): (Vec<GroupMember>, Option<UserId>, usize) = (Vec::new(), None, 0);
    let next = 'people: loop {
        let mut people = store::user::people(caller.store(), &caller.org, &connections, &paging).await?;
        let more = people.len() > STEP as usize;
        people.truncate(STEP as usize);
        read += people.len();
        for person in &people {
            let named = group.spec.members.contains(&person.user.id);
            let seen = account.sees(person);
            let facts = Facts {
                user: Some(seen.facts()),
                at,
                ..Facts::nobody(Actor::Browser)
            };
            if named || rules.decide(&facts).allowed {
                if items.len() == wanted {
                    break 'people last;
                }
                let person = crate::tester::person_ref(person);
                items.push(GroupMember { person, named });
            }
            last = Some(person.user.id.clone());
        }
        if !more {
            break None;
        }
        if read >= MOST {
            break last;
        }
        paging.after = last.clone();
    };
    let next = next.map(|id| caller.cursors().write(&caller.org, wire::Id::as_str(&id)));
    let items = caller.release().within(&group.account).all(items).await?;
    Ok(Json(Page { items, next }))
}

/// Rules that let through whoever is in the group.
fn rules_of(group: &Group) -> Answer<Ruleset> {
    let rule = RuleRef {
        id: group.id.to_string(),
        name: group.spec.name.clone(),
    };
    let spec = PolicySpec {
        name: group.spec.name.clone(),
        decision: PolicyDecision::Allow,
        include: vec![Selector::Group {
            group: group.id.clone(),
        }],
        require: vec![],
        exclude: vec![],
    };
    let compiled = Ruleset::compile(&[], &[(rule, spec)], std::slice::from_ref(group));
    compiled.map_err(|e| Fault::compile("", e))
}

/// A group is as large as somebody can still read; `pointer` leads to it.
pub(crate) fn check_size(pointer: &str, spec: &GroupSpec) -> Answer<()> {
    check::at_most(&format!("{pointer}/members"), &spec.members, 1000)?;
    check::at_most(&format!("{pointer}/include"), &spec.include, 200)
}

/// People named in a body must be people that the caller may see.
async fn check_members(caller: &Caller, body: &Body) -> Answer<()> {
    let members = body.0.get("members").and_then(|m| m.as_array());
    let named = members.into_iter().flatten().take(1000).enumerate();
    let named = named.filter_map(|(i, member)| Some((i, member.as_str()?.parse::<UserId>().ok()?)));
    let (places, ids): (Vec<usize>, Vec<UserId>) = named.unzip();
    let visible = crate::users::visible(caller, &ids).await?;
    match places
        .into_iter()
        .zip(&ids)
        .find(|(_, id)| !visible.contains(*id))
    {
        Some((i, _)) => Err(Fault::not_found().reference(&format!("/members/{i}"), "user")),
        None => Ok(()),
    }
}

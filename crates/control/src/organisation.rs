//! `/organisation`: the one that the caller belongs to.

use crate::caller::{Caller, Permission, Scope};
use crate::fault::{Answer, Fault};
use crate::input::Body;
use crate::power::Act;
use crate::write::{Write, shown};
use crate::{Control, check, connections, places, record};
use axum::response::Response;
use store::{audit::target, impact::Made};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{ConnectionKind, Organisation, OrganisationSpec};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default().routes(routes!(get, patch))
}

/// The organisation
#[utoipa::path(get, path = "/organisation", tag = "organisation", responses((status = 200, body = Organisation)))]
async fn get(caller: Caller) -> Answer {
    let org = load(&caller).await?;
    Ok(shown(org.version, &org))
}

/// The organisation as the caller may see it: whoever has roles in accounts only does not hear of a primary
/// connection that is not theirs.
pub(crate) async fn load(caller: &Caller) -> Answer<Organisation> {
    let mut org = store::org::get(caller.store(), &caller.org).await?;
    let bound = connections::bound(caller);
    org.spec.primary_connection = org
        .spec
        .primary_connection
        .filter(|id| bound.is_none_or(|bound| bound.contains(id)));
    Ok(org)
}

/// Changes the organisation. Needs `If-Match`, because floor and primary connection concern everybody
#[utoipa::path(patch, path = "/organisation", tag = "organisation",
    request_body(content = OrganisationSpec, content_type = "application/merge-patch+json"),
    responses((status = 200, body = Organisation)))]
async fn patch(caller: Caller, write: Write, body: Body) -> Answer<Response> {
    caller.require(Permission::Administer, Scope::Organisation)?;
    let org = store::org::get(caller.store(), &caller.org).await?;
    let spec: OrganisationSpec = body.merge(&org.spec)?;
    let warrant = write.warrant(&caller, &Act::ChangeOrganisation(&org.spec, &spec))?;
    write.requires(org.version)?;
    if spec == org.spec {
        return Ok(write.changed(org.version, &org));
    }
    check(&caller, &spec).await?;
    if spec.require_second_factor && !org.spec.require_second_factor {
        check_own_factor(&caller).await?;
    }
    places::check_ranges(&org, &spec.allowed_origin_ranges)?;
    let after = write.carry_out(|| async {
        let mut tx = caller.begin().await?;
        let after = store::org::update(&mut tx, &org, spec.clone()).await?;
        let about = target("organisation", &org.id, Some(&after.spec.name));
        let change = record::change(Some(&org.spec), Some(&after.spec));
        let events = vec![caller.event("organisation.update", None, Some(about), change)];
        let answer = (warrant, after);
        Ok(Made { tx, events, answer })
    });
    let after = after.await?;
    Ok(write.changed(after.version, &after))
}

/// Whoever asks everybody for a second factor has one: they would be the first to be shut out.
async fn check_own_factor(caller: &Caller) -> Answer<()> {
    let Some(person) = caller.person.as_ref().filter(|person| !person.has_second_factor) else {
        return Ok(());
    };
    let connection = &person.user.connection;
    let connection = store::connection::get(caller.store(), &caller.org, connection).await?;
    if connection.spec.kind == ConnectionKind::Password {
        let detail = "you sign in with a local password and have no second factor, so this would shut you out: set one \
                      up at /me/security first";
        return Err(Fault::conflict(detail));
    }
    Ok(())
}

async fn check(caller: &Caller, spec: &OrganisationSpec) -> Answer<()> {
    check::name("/name", &spec.name)?;
    check::at_most("/floor", &spec.floor, 100)?;
    let oldest = &spec.oldest_proof;
    check::oldest_proof(Some(oldest.agents_seconds), Some(oldest.sessions_seconds))?;
    // Groups belong to one account, so the floor, which is for all, cannot name any.
    policy::check_floor(&spec.floor, &[]).map_err(|e| Fault::compile("", e))?;
    if let Some(id) = &spec.primary_connection {
        let found = store::connection::get(caller.store(), &caller.org, id).await;
        let connection = found.map_err(|e| Fault::from(e).reference("/primary_connection", "connection"))?;
        if connection.account.is_some() {
            let detail = "a connection of one account cannot be the primary one";
            return Err(Fault::invalid("/primary_connection", detail));
        }
    }
    Ok(())
}

//! `/overview`: the numbers of the dashboard's first page.

use crate::Control;
use crate::answer::Json;
use crate::caller::{Caller, Permission};
use crate::fault::Answer;
use store::Released;
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::Overview;

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default().routes(routes!(get))
}

/// The last 24 hours, of the accounts that the caller may see
#[utoipa::path(get, path = "/overview", tag = "overview", responses((status = 200, body = Overview)))]
async fn get(caller: Caller) -> Answer<Json<Released<Overview>>> {
    let mine = caller.accounts(Permission::Read);
    let mut overview = store::overview::load(&caller.reports(), &caller.org, mine.as_deref()).await?;
    if mine.is_some() {
        overview.totals.connections = i64::try_from(overview.connections.len()).unwrap_or(i64::MAX);
    }
    Ok(Json(caller.release().one(overview).await?))
}

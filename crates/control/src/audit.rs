//! `/audit`: the log. Reading it is itself recorded.

use crate::Control;
use crate::answer::Json;
use crate::caller::{Caller, Permission};
use crate::fault::{Answer, Fault};
use crate::input::{Id, Query, limit};
use axum::response::Response;
use serde::Serialize;
use store::Released;
use store::audit::{Filter, Order, target};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    AccountId, AppId, AuditChange, AuditEvent, ClientId, EventId, GrantId, Outcome, Page, Timestamp, UserId,
};

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(export))
}

/// From which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// Oldest first.
    Oldest,
    /// Newest first.
    Newest,
}

/// The form of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// One JSON object per line.
    Ndjson,
    /// RFC 4180, with a heading.
    Csv,
}

/// Which events, and which of them.
#[derive(Debug, Serialize, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    /// Only of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<AccountId>,
    /// Only by this person, or on their behalf.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<UserId>,
    /// Only by this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<ClientId>,
    /// Only under this grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<GrantId>,
    /// Only about this app.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<AppId>,
    /// Only this action, or all that begin with this when it ends in `.`.
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<String>,
    /// Only with this outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<Outcome>,
    /// Only calls of this MCP tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    tool: Option<String>,
    /// Only from this address.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
    /// Only of this request, by its `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    /// From this moment (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Timestamp>,
    /// Before this moment (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Timestamp>,
    /// Text that occurs anywhere in the event, ignoring ASCII case.
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<String>,
    /// `newest` first if absent. Only for lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<Direction>,
    /// Items on a page, 1 to 200; 50 if absent. Only for lists.
    #[serde(skip_serializing)]
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// `next` of the page before. Only for lists.
    #[serde(skip_serializing)]
    cursor: Option<String>,
    /// `ndjson` if absent. Only for exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format>,
    /// Only events after this `seq`: to go on with an export that broke off. Only for exports.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0)]
    after: Option<i64>,
}

impl AuditQuery {
    fn filter(&self, caller: &Caller) -> Answer<Filter> {
        for (name, text) in [
            ("?q", &self.q),
            ("?action", &self.action),
            ("?tool", &self.tool),
            ("?ip", &self.ip),
            ("?request", &self.request),
        ] {
            if text
                .as_ref()
                .is_some_and(|t| t.is_empty() || t.len() > 200 || t.contains('\0'))
            {
                return Err(Fault::invalid(name, "1 to 200 bytes"));
            }
        }
        let accounts = caller.accounts_within(Permission::ReadAudit, self.account.clone());
        if accounts.as_ref().is_some_and(Vec::is_empty) && self.account.is_none() {
            return Err(Fault::forbidden("no role of the caller allows this"));
        }
        Ok(Filter {
            accounts,
            user: self.user.clone(),
            client: self.client.clone(),
            grant: self.grant.clone(),
            app: self.app.clone(),
            action: self.action.clone(),
            outcome: self.outcome,
            tool: self.tool.clone(),
            ip: self.ip.clone(),
            request: self.request.clone(),
            from: self.from,
            to: self.to,
            text: self.q.clone(),
            settled_at: Some(caller.store().clock().now()),
        })
    }

    /// Refuses parameters that only the other operation has.
    fn refuse(pairs: &[(&str, bool)]) -> Answer<()> {
        match pairs.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Fault::invalid(
                format!("?{name}"),
                "not a parameter of this operation",
            )),
            None => Ok(()),
        }
    }

    /// What was looked for, for the log of the log.
    fn record(&self, caller: &Caller, action: &str) -> AuditEvent {
        let after = serde_json::to_value(self).unwrap_or_default();
        let change = AuditChange {
            before: serde_json::Value::Null,
            after,
        };
        caller.event(action, self.account.as_ref(), None, Some(change))
    }
}

/// Events, newest first unless asked otherwise
///
/// As the caller gets to see them; `q` is looked for in that. A page may hold fewer events than asked for, even none,
/// and still have a next one.
#[utoipa::path(get, path = "/audit", tag = "audit", params(AuditQuery),
    responses((status = 200, body = Page<AuditEvent>)))]
async fn list(caller: Caller, Query(query): Query<AuditQuery>) -> Answer<Json<Page<Released<AuditEvent>>>> {
    AuditQuery::refuse(&[
        ("format", query.format.is_some()),
        ("after", query.after.is_some()),
    ])?;
    let filter = query.filter(&caller)?;
    let limit = limit(query.limit)?;
    let order = match query.order {
        Some(Direction::Oldest) => Order::Oldest,
        Some(Direction::Newest) | None => Order::Newest,
    };
    let at = match &query.cursor {
        Some(cursor) => Some(caller.cursors().read::<i64>(&caller.org, cursor)?),
        None => None,
    };
    let store = caller.store();
    let (items, next) = caller
        .release()
        .reporting()
        .log(&filter, (order, at), limit)
        .await?;
    if at.is_none() {
        // One event per reading, not per page.
        store.record(query.record(&caller, "audit.read")).await?;
    }
    let next = next.map(|seq| caller.cursors().write(&caller.org, &seq.to_string()));
    Ok(Json(Page { items, next }))
}

/// One event
#[utoipa::path(get, path = "/audit/{id}", tag = "audit", responses((status = 200, body = AuditEvent)))]
async fn get(caller: Caller, Id(id): Id<EventId>) -> Answer<Json<Released<AuditEvent>>> {
    let event = store::audit::get(caller.store(), &caller.org, &id).await?;
    if let Some(mine) = caller.accounts(Permission::ReadAudit)
        && !event.account.as_ref().is_some_and(|a| mine.contains(a))
    {
        return Err(Fault::not_found());
    }
    let about = target("audit_event", &id, None);
    let read = caller.event("audit.read", event.account.as_ref(), Some(about), None);
    caller.store().record(read).await?;
    Ok(Json(caller.release().one(event).await?))
}

/// All events that the filters let through, oldest first, streamed
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(AuditQuery),
    responses((status = 200, content((AuditEvent = "application/x-ndjson"), (String = "text/csv")))))]
async fn export(caller: Caller, Query(query): Query<AuditQuery>) -> Answer<Response> {
    AuditQuery::refuse(&[
        ("order", query.order.is_some()),
        ("limit", query.limit.is_some()),
        ("cursor", query.cursor.is_some()),
    ])?;
    if query.after.is_some_and(|seq| seq < 0) {
        return Err(Fault::invalid("?after", "a `seq`"));
    }
    let filter = query.filter(&caller)?;
    caller
        .store()
        .record(query.record(&caller, "audit.export"))
        .await?;
    let format = query.format.unwrap_or(Format::Ndjson);
    crate::export::stream(&caller, filter, query.after, format).await
}

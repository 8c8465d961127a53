//! OpenID Connect Back-Channel Logout 1.0: a provider says that somebody has signed out there, and their sessions
//! here, and at every app, end.

use crate::audit::Stray;
use crate::budget::Act;
use crate::claims::MAX_SUBJECT;
use crate::oidc::Signed;
use crate::provider::Fault;
use crate::upstream::MOST_SID;
use crate::{Visit, audit, jws};
use axum::Json;
use axum::extract::rejection::FormRejection;
use axum::extract::{Form, Path};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use store::upstream_session::Ended;
use wire::{
    ActorKind, AuditActor, AuditEvent, Connection, ConnectionId, ConnectionKind, ConnectionSpec, OrgId,
    Outcome, Timestamp,
};

/// The member of `events` that makes a token a logout token.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old a logout token may be, in seconds.
const FRESH: i64 = 300;
/// How far the provider's clock may be off at the most, in seconds.
const LEEWAY: i64 = 300;
/// Longest `jti`.
const MOST_JTI: usize = 1024;
/// Longest token.
const MOST_TOKEN: usize = 16 * 1024;

/// What a provider posts.
#[derive(Deserialize)]
pub(crate) struct Posted {
    logout_token: String,
}

/// Why nobody was signed out.
enum Refusal {
    /// There is no such connection, or it does not listen.
    Closed,
    /// The token is not acceptable: a word for the log, and one for the provider.
    Token(&'static str, String),
    /// The provider, or the database, does not answer.
    Later(String),
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, source = ?error, "a back-channel logout failed");
        Self::Later("the sessions could not be ended".to_owned())
    }
}

/// `POST /login/backchannel/{connection}`.
pub(crate) async fn logout(
    visit: Visit,
    Path(id): Path<String>,
    form: Result<Form<Posted>, FormRejection>,
) -> Response {
    let mut response = match end(&visit, &id, form).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(refusal) => {
            let text = match refusal {
                Refusal::Closed => "this connection takes no back-channel logout".to_owned(),
                Refusal::Token(_, text) | Refusal::Later(text) => text,
            };
            // Section 2.8: 400 for whatever did not work.
            let body = json!({ "error": "invalid_request", "error_description": text });
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn end(visit: &Visit, id: &str, form: Result<Form<Posted>, FormRejection>) -> Result<(), Refusal> {
    let found = match id.parse::<ConnectionId>() {
        Ok(id) => store::connection::by_id(visit.store(), &id).await?,
        Err(_) => None,
    };
    let is_open = |connection: &Connection| {
        let spec = &connection.spec;
        spec.kind == ConnectionKind::Oidc && spec.enabled && spec.logout.back_channel
    };
    let (org, connection) = match found {
        Some((org, connection)) if is_open(&connection) => (org, connection),
        found => {
            closed(visit, found).await;
            return Err(Refusal::Closed);
        }
    };
    let id = &connection.id;
    let ended = match form {
        Ok(Form(posted)) if posted.logout_token.len() <= MOST_TOKEN => {
            by_token(visit, (&org, &connection), &posted.logout_token).await
        }
        _ => Err(refused("malformed", "a form with one `logout_token` is expected")),
    };
    if let Err(Refusal::Token(reason, text)) = &ended {
        // Anybody can post here: the log is not theirs to fill, and events of one kind are one.
        if !visit.is_flooding(Act::Logout) {
            tracing::warn!(request = %visit.request.id, connection = %id, reason, text, "a logout token was refused");
        }
        let event = AuditEvent {
            outcome: Outcome::Failure,
            reason: Some((*reason).to_owned()),
            ..event(visit, &org, &connection)
        };
        audit::record_refusal(visit, event).await;
    }
    ended
}

/// Writes down that somebody posted where nobody listens. Of a place that was made up, the log has no word.
async fn closed(visit: &Visit, found: Option<(OrgId, Connection)>) {
    let mut request = visit.request.clone();
    if found.is_none()
        && let Some(at) = request.path.rfind('/')
    {
        request.path.truncate(at + 1);
    }
    let stray = Stray {
        action: "session.backchannel_logout",
        reason: if found.is_some() {
            "disabled"
        } else {
            "connection_unknown"
        },
        at: found.map(|(org, connection)| {
            let target = audit::connection(&connection);
            (org, connection.account, Some(target))
        }),
    };
    stray.record(&visit.broker, &request).await;
}

async fn by_token(
    visit: &Visit,
    (org, connection): (&OrgId, &Connection),
    token: &str,
) -> Result<(), Refusal> {
    let signed = visit.broker.providers().signed(connection, token).await;
    let signed = signed.map_err(|fault| match fault {
        Fault::Token(text) => Refusal::Token("logout_token_invalid", text),
        Fault::Store(error) => error.into(),
        other => Refusal::Later(other.to_string()),
    })?;
    let now = visit.store().clock().now();
    let token = read(&signed, &connection.spec, now)?;

    let mut tx = visit.store().begin().await?;
    if !store::upstream_session::spend_token(&mut tx, &connection.id, token.jti, token.until).await? {
        return Err(refused("logout_token_replayed", "it was used before"));
    }
    let which = Ended {
        connection: &connection.id,
        issuer: &signed.issuer,
        subject: token.subject,
        sid: token.sid,
    };
    let sessions = store::upstream_session::end(&mut tx, which).await?;
    let mut events = Vec::new();
    for (session, user) in &sessions {
        let person = store::user::by_id(&mut tx, user).await?;
        events.push(AuditEvent {
            target: Some(store::audit::target(
                "user",
                user,
                person.as_ref().and_then(|person| person.user.email.as_deref()),
            )),
            actor: AuditActor {
                session: Some(session.clone()),
                ..AuditActor::of(ActorKind::System)
            },
            ..event(visit, org, connection)
        });
    }
    if events.is_empty() {
        // Nobody was signed in any more, which is what the provider wants.
        events.push(event(visit, org, connection));
    }
    tx.commit_all(events).await?;
    metrics::counter!("chatelaine_backchannel_logouts_total").increment(1);
    Ok(())
}

fn event(visit: &Visit, org: &OrgId, connection: &Connection) -> AuditEvent {
    let actor = AuditActor::of(ActorKind::System);
    AuditEvent {
        account: connection.account.clone(),
        target: Some(audit::connection(connection)),
        ..audit::event(visit, org, "session.backchannel_logout", actor)
    }
}

fn refused(reason: &'static str, text: &str) -> Refusal {
    Refusal::Token(reason, text.to_owned())
}

/// What counts of a logout token.
struct LogoutToken<'a> {
    jti: &'a str,
    subject: Option<&'a str>,
    sid: Option<&'a str>,
    /// When nobody would take it any more.
    until: Timestamp,
}

/// Checks what a signed token says (section 2.6).
fn read<'a>(signed: &'a Signed, spec: &ConnectionSpec, now: Timestamp) -> Result<LogoutToken<'a>, Refusal> {
    let claims = &signed.token.claims;
    let wrong = |text: &str| refused("logout_token_invalid", text);
    let kinds = ["logout+jwt", "application/logout+jwt", "jwt"];
    if let Some(kind) = &signed.token.kind
        && !kinds.iter().any(|known| kind.eq_ignore_ascii_case(known))
    {
        return Err(wrong("it is a token of another kind"));
    }
    if claims.get("iss").and_then(Value::as_str) != Some(signed.issuer.as_str()) {
        return Err(wrong("it comes from another issuer"));
    }
    jws::audience(spec, claims).map_err(wrong)?;
    jws::times(claims, now).map_err(wrong)?;
    // Only a number is a time.
    let issued = claims.get("iat").and_then(Value::as_f64);
    if !issued.is_some_and(|issued| jws::is_within(issued, FRESH, now)) {
        return Err(wrong("it was not issued just now"));
    }
    let events = claims.get("events").and_then(|events| events.get(EVENT));
    if !events.is_some_and(Value::is_object) {
        return Err(wrong("it is no logout token: `events` does not say so"));
    }
    if claims.contains_key("nonce") {
        return Err(wrong("it has a nonce, as id tokens do"));
    }
    let (subject, sid) = (
        text(claims, ("sub", MAX_SUBJECT))?,
        text(claims, ("sid", MOST_SID))?,
    );
    if subject.is_none() && sid.is_none() {
        return Err(wrong("it names neither `sub` nor `sid`"));
    }
    let jti = text(claims, ("jti", MOST_JTI))?.ok_or_else(|| wrong("it has no `jti`"))?;
    Ok(LogoutToken {
        jti,
        subject,
        sid,
        until: now.plus_seconds(FRESH + 3 * LEEWAY),
    })
}

/// A member that is a text of at most so many bytes.
fn text<'a>(claims: &'a Map<String, Value>, (name, most): (&str, usize)) -> Result<Option<&'a str>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && text.len() <= most => Ok(Some(text)),
        Some(_) => Err(refused(
            "logout_token_invalid",
            &format!("its `{name}` is no text of 1 to {most} bytes"),
        )),
    }
}

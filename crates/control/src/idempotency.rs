//! `Idempotency-Key` on `POST`: a request that is repeated because its answer got lost is not carried out
//! twice. The answer of the first one is kept for a day and given again.
//!
//! A key belongs to the credential that sent it. Refused requests changed nothing, and leave their key free. An
//! answer may show a secret, so it is given again only to whoever could still ask for it.

use crate::caller::Caller;
use crate::fault::{Answer, Fault, Kind};
use crate::input::BODY_LIMIT;
use crate::power::{Demand, Granted, judge_again};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use serde::{Deserialize, Serialize};
use store::idempotency::{self, Found};

/// Names the attempt.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says that the answer is the one of an earlier request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key, in bytes.
const LONGEST: usize = 255;
/// What of an answer's head is given again.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// An answer as it is kept.
#[derive(Serialize, Deserialize)]
struct Kept {
    status: u16,
    headers: Vec<(String, String)>,
    /// Base64.
    body: String,
    /// What it took.
    demands: Vec<Demand>,
    /// As whom it was shown what it says of people.
    standing: String,
}

/// Carries the request out, unless it was carried out already.
pub(crate) async fn once(caller: &Caller, request: Request, next: Next) -> Response {
    match attempt(caller, request, next).await {
        Ok(response) => response,
        Err(fault) => fault.into_response(),
    }
}

async fn attempt(caller: &Caller, request: Request, next: Next) -> Answer<Response> {
    let Some(key) = key(request.method(), request.headers())? else {
        return Ok(next.run(request).await);
    };
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await;
    let body = body.map_err(|_| Fault::new(Kind::TooLarge, format!("at most {BODY_LIMIT} bytes")))?;
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str());
    let mut whole = format!("{target}\n").into_bytes();
    whole.extend_from_slice(&body);
    let fingerprint = store::sha256(&whole);
    let hash = store::sha256(format!("{}\n{key}", caller.credential_key()));
    let work = Work {
        caller: caller.clone(),
        hash,
        fingerprint,
    };
    // A task of its own: the work goes on when whoever asked hangs up, and its answer is there when they ask again.
    let request = Request::from_parts(parts, Body::from(body));
    let work = tokio::spawn(work.carry_out(next.run(request)));
    work.await.map_err(store::Error::internal)?
}

/// A request with a key.
struct Work {
    caller: Caller,
    /// Of credential and key.
    hash: String,
    /// Of the request.
    fingerprint: String,
}

impl Work {
    /// Claims the key, waits for the answer and keeps it, or gives the key back.
    async fn carry_out(self, answer: impl Future<Output = Response>) -> Answer<Response> {
        let store = self.caller.store();
        match idempotency::claim(store, &self.hash, &self.fingerprint).await? {
            Found::First => {}
            Found::Other => return Err(Fault::of(Kind::IdempotencyKeyReused)),
            Found::Unanswered => {
                let detail = "if this stays so, its answer was lost with the server: look what it did";
                return Err(Fault::new(Kind::IdempotencyInProgress, detail).retry_after(1));
            }
            Found::Answered(answer) => return again(&self.caller, &answer),
        }
        let (head, body) = answer.await.into_parts();
        // Handlers answer with whole bodies; streams are only for `GET`.
        let body = to_bytes(body, usize::MAX).await;
        let body = body.map_err(store::Error::internal)?;
        // A dry run changed nothing either, nor did what took nothing.
        let granted = head
            .extensions
            .get::<Granted>()
            .filter(|_| head.status.is_success());
        if let Some(Granted(demands)) = granted {
            let kept = Kept {
                demands: demands.clone(),
                standing: standing(&self.caller),
                status: head.status.as_u16(),
                headers: kept(&head.headers),
                body: STANDARD.encode(&body),
            };
            let text = serde_json::to_string(&kept).map_err(store::Error::internal)?;
            idempotency::finish(store, &self.hash, &text).await?;
        } else {
            idempotency::forget(store, &self.hash).await?;
        }
        Ok(Response::from_parts(head, Body::from(body)))
    }
}

/// As whom the caller gets to see people.
fn standing(caller: &Caller) -> String {
    store::sha256(caller.release().standing())
}

fn key(method: &Method, headers: &HeaderMap) -> Answer<Option<String>> {
    if method != Method::POST {
        return Ok(None);
    }
    let mut sent = headers.get_all(KEY).iter();
    let Some(value) = sent.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if sent.next().is_some() || text.is_empty() || text.len() > LONGEST {
        let detail = format!("Idempotency-Key: one, of 1 to {LONGEST} visible ASCII characters");
        return Err(Fault::new(Kind::Malformed, detail));
    }
    Ok(Some(text.to_owned()))
}

fn kept(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in KEPT {
        if let Some(value) = headers.get(&name).and_then(|v| v.to_str().ok()) {
            found.push((name.to_string(), value.to_owned()));
        }
    }
    found
}

fn again(caller: &Caller, answer: &str) -> Answer<Response> {
    let Ok(kept) = serde_json::from_str::<Kept>(answer) else {
        let detail = "its answer was kept in a form that is not read any more: look what it did";
        return Err(Fault::new(Kind::IdempotencyInProgress, detail));
    };
    judge_again(caller, &kept.demands)?;
    // What was shown of people once is not shown again to whoever may not see it any more.
    if kept.standing != standing(caller) {
        return Err(Fault::of(Kind::IdempotencyKeyReused));
    }
    let body = STANDARD.decode(kept.body).map_err(store::Error::internal)?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(kept.status).map_err(store::Error::internal)?;
    for (name, value) in kept.headers {
        let name = HeaderName::try_from(name).map_err(store::Error::internal)?;
        let value = HeaderValue::try_from(value).map_err(store::Error::internal)?;
        response.headers_mut().insert(name, value);
    }
    let yes = HeaderValue::from_static("true");
    response.headers_mut().insert(REPLAYED, yes);
    Ok(response)
}

//! A small internal wiki: the demo's `web` origin. It trusts whoever the gateway's assertion names, and tells on
//! `/whoami` exactly what the gateway forwarded.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use askama::Template;
use aws_lc_rs::digest;
use axum::body::Body;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{any, get, post};
use axum::{Extension, Form, Json, Router};
use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::assertion::{self, Claims, Refusal, Verifier};
use crate::server::PAGE_HEADERS;

/// Time between two events on `/events`.
const EVENT_EVERY: Duration = Duration::from_millis(500);
/// The longest that `/slow` can be asked to take.
const SLOWEST: u64 = 120_000;
/// The largest edit, in bytes.
const MAX_EDIT: usize = 64 * 1024;

/// Whom the wiki believes.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How assertions are verified; without it nobody is ever signed in.
    pub assertion: Option<assertion::Config>,
    /// Whether everything but `/healthz` is refused without a valid assertion.
    pub require_assertion: bool,
}

struct Page {
    title: &'static str,
    text: String,
    edited_by: Option<String>,
}

struct Wiki {
    verifier: Option<Verifier>,
    require_assertion: bool,
    pages: Mutex<BTreeMap<&'static str, Page>>,
}

impl Wiki {
    fn pages(&self) -> MutexGuard<'_, BTreeMap<&'static str, Page>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The wiki's routes.
///
/// # Errors
/// When the client that fetches the assertion keys cannot be built.
pub fn router(config: Config) -> anyhow::Result<Router> {
    let page = |title, text: &str| Page {
        title,
        text: text.to_owned(),
        edited_by: None,
    };
    let wiki = Arc::new(Wiki {
        verifier: config.assertion.map(Verifier::new).transpose()?,
        require_assertion: config.require_assertion,
        pages: Mutex::new(BTreeMap::from([
            (
                "handbook",
                page("Handbook", include_str!("../assets/handbook.txt")),
            ),
            ("runbook", page("Runbook", include_str!("../assets/runbook.txt"))),
        ])),
    });
    Ok(Router::new()
        .route("/", get(home))
        .route("/pages/{slug}", get(read))
        .route(
            "/pages/{slug}/edit",
            get(edit).post(save).layer(DefaultBodyLimit::max(MAX_EDIT)),
        )
        .route("/whoami", any(whoami))
        .route("/events", get(events))
        .route("/ws", any(echo))
        .route("/upload", post(upload))
        .route("/slow", any(slow))
        .route("/style.css", get(style))
        .layer(middleware::from_fn_with_state(wiki.clone(), identify))
        .route("/healthz", get(|| async { "ok" }))
        .with_state(wiki))
}

/// Serves the wiki on `listener` until `shutdown`.
///
/// # Errors
/// When the client that fetches the assertion keys cannot be built or the listener fails.
pub async fn serve(listener: TcpListener, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    crate::server::serve(listener, router(config)?, shutdown).await
}

/// Who the gateway says is asking, or why that is not known.
#[derive(Clone)]
struct Visitor(Arc<Result<Claims, Refusal>>);

impl Visitor {
    fn claim(&self, name: &str) -> Option<&str> {
        self.0.as_ref().as_ref().ok()?.get(name)?.as_str()
    }

    fn person(&self) -> Option<&str> {
        self.claim("email").or_else(|| self.claim("sub"))
    }

    /// The client that acts for the person (RFC 8693, section 4.1).
    fn agent(&self) -> Option<&str> {
        self.0.as_ref().as_ref().ok()?.get("act")?.get("sub")?.as_str()
    }
}

async fn identify(State(wiki): State<Arc<Wiki>>, mut request: Request, next: Next) -> Response {
    let visitor = match &wiki.verifier {
        Some(verifier) => verifier.verify(request.headers()).await,
        None => Err(Refusal::Missing),
    };
    if let (true, Err(refusal)) = (wiki.require_assertion, &visitor) {
        let body = json!({ "error": "assertion_required", "error_description": refusal.to_string() });
        return (refusal.status(), Json(body)).into_response();
    }
    request.extensions_mut().insert(Visitor(Arc::new(visitor)));
    next.run(request).await
}

#[derive(Template)]
#[template(path = "wiki_home.html")]
struct HomePage<'a> {
    visitor: &'a Visitor,
    pages: Vec<(&'static str, &'static str)>,
}

#[derive(Template)]
#[template(path = "wiki_page.html")]
struct ReadPage<'a> {
    visitor: &'a Visitor,
    slug: &'a str,
    title: &'a str,
    paragraphs: Vec<&'a str>,
    edited_by: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "wiki_edit.html")]
struct EditPage<'a> {
    visitor: &'a Visitor,
    slug: &'a str,
    title: &'a str,
    text: &'a str,
}

fn page(template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => (PAGE_HEADERS, html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page cannot be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn home(State(wiki): State<Arc<Wiki>>, Extension(visitor): Extension<Visitor>) -> Response {
    let pages = wiki
        .pages()
        .iter()
        .map(|(slug, page)| (*slug, page.title))
        .collect();
    page(&HomePage {
        visitor: &visitor,
        pages,
    })
}

async fn read(
    State(wiki): State<Arc<Wiki>>,
    Extension(visitor): Extension<Visitor>,
    Path(slug): Path<String>,
) -> Response {
    let pages = wiki.pages();
    let Some(found) = pages.get(slug.as_str()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    page(&ReadPage {
        visitor: &visitor,
        slug: &slug,
        title: found.title,
        paragraphs: found.text.split("\n\n").collect(),
        edited_by: found.edited_by.as_deref(),
    })
}

async fn edit(
    State(wiki): State<Arc<Wiki>>,
    Extension(visitor): Extension<Visitor>,
    Path(slug): Path<String>,
) -> Response {
    let pages = wiki.pages();
    let Some(found) = pages.get(slug.as_str()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    page(&EditPage {
        visitor: &visitor,
        slug: &slug,
        title: found.title,
        text: &found.text,
    })
}

#[derive(Deserialize)]
struct Edit {
    text: String,
}

async fn save(
    State(wiki): State<Arc<Wiki>>,
    Extension(visitor): Extension<Visitor>,
    Path(slug): Path<String>,
    headers: HeaderMap,
    Form(edit): Form<Edit>,
) -> Response {
    // Another site could post this form with the visitor's gateway cookie; browsers say where a post comes from.
    let site = headers.get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site.is_some_and(|site| site != "same-origin" && site != "none") {
        return (StatusCode::FORBIDDEN, "edits have to come from the wiki itself").into_response();
    }
    let mut pages = wiki.pages();
    let Some(found) = pages.get_mut(slug.as_str()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    found.text = edit.text.replace("\r\n", "\n");
    found.edited_by = visitor.person().map(str::to_owned);
    Redirect::to(&format!("/pages/{slug}")).into_response()
}

/// Everything that arrived: the verified claims (or why there are none), and each header with all its values.
async fn whoami(
    Extension(visitor): Extension<Visitor>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Json<Value> {
    let mut received: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (name, value) in &headers {
        received
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    Json(json!({
        "signed_in": visitor.0.is_ok(),
        "claims": visitor.0.as_ref().as_ref().ok(),
        "refusal": visitor.0.as_ref().as_ref().err().map(ToString::to_string),
        "method": method.as_str(),
        "uri": uri.to_string(),
        "headers": received,
    }))
}

#[derive(Deserialize)]
struct HowMany {
    n: Option<usize>,
}

/// Server-sent events, one per half second: `n` of them, or without end.
async fn events(Query(asked): Query<HowMany>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let ticks = stream::unfold(0_usize, |count| async move {
        if count > 0 {
            tokio::time::sleep(EVENT_EVERY).await;
        }
        let event = Event::default()
            .event("tick")
            .id(count.to_string())
            .data(format!("{{\"n\":{count}}}"));
        Some((Ok(event), count + 1))
    });
    Sse::new(ticks.take(asked.n.unwrap_or(usize::MAX)))
}

/// A WebSocket that sends back each text or binary message.
async fn echo(upgrade: WebSocketUpgrade) -> Response {
    upgrade.on_upgrade(async |mut socket| {
        while let Some(Ok(message)) = socket.recv().await {
            let answered = match message {
                Message::Text(_) | Message::Binary(_) => socket.send(message).await,
                // The library answers pings and closes itself.
                _ => Ok(()),
            };
            if answered.is_err() {
                break;
            }
        }
    })
}

/// How many bytes arrived, and their SHA-256, without ever holding them all.
async fn upload(body: Body) -> Response {
    let mut sha256 = digest::Context::new(&digest::SHA256);
    let mut bytes = 0_usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => {
                bytes += chunk.len();
                sha256.update(&chunk);
            }
            Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
        }
    }
    let sha256: String = sha256
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Json(json!({ "bytes": bytes, "sha256": sha256 })).into_response()
}

#[derive(Deserialize)]
struct HowSlow {
    ms: Option<u64>,
}

async fn slow(Query(asked): Query<HowSlow>) -> String {
    let ms = asked.ms.unwrap_or(1000).min(SLOWEST);
    tokio::time::sleep(Duration::from_millis(ms)).await;
    format!("took {ms} ms\n")
}

async fn style() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/css; charset=utf-8")],
        include_str!("../assets/wiki.css"),
    )
}

//! The dashboard's way to the server: `/api/v1` with the browser's session, CSRF token and entity tags.
//!
//! Owns how answers become values or [`Failure`]s. It keeps no resources; pages do.

use crate::labels::{self, Labels};
use gloo_net::http::{Method, RequestBuilder};
use leptos::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::{Hash as _, Hasher as _},
};
use wire::{CSRF_HEADER, Page, Preview, Problem, Session};

/// Tells the server which surface wrote, for the audit log.
const SOURCE_HEADER: &str = "x-chatelaine-source";

/// How often it is looked whether somebody has answered a dialog, in milliseconds.
const ASK_AGAIN: u32 = 100;
/// Names the attempt, so that repeating it does nothing twice.
const ATTEMPT_HEADER: &str = "idempotency-key";

/// Lists that a page shows whole (accounts, connections, …) stop here: 10 pages of 200.
const MOST_PAGES: usize = 10;

/// The first page of a list.
#[derive(Debug, Clone)]
pub(crate) struct Listed<T> {
    pub(crate) items: Vec<T>,
    /// Whether there are others.
    pub(crate) more: bool,
}

/// Why a request brought no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server said what is wrong.
    Problem(Problem),
    /// Nobody is signed in any more.
    Expired,
    /// No answer.
    Unreachable,
    /// An answer that this dashboard does not understand, with its status.
    Unexpected(u16),
}

/// What a request brings.
pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    /// One or two sentences for the person in front of the screen.
    pub(crate) fn message(&self) -> String {
        self.message_with(&[])
    }

    /// The same in the words of a form that calls some fields in its own way.
    pub(crate) fn message_with(&self, own: Labels) -> String {
        match self {
            Self::Problem(_) if self.is_stale() => {
                "Somebody else changed this in the meantime. Reload it and make your change again.".into()
            }
            Self::Problem(_) if self.is_unproven() => {
                "Nothing was changed: this needs a fresh sign-in. Confirm that it is you, then do this again."
                    .into()
            }
            Self::Problem(problem) => {
                labels::sentence(problem.detail.as_deref().unwrap_or(&problem.title), own)
            }
            Self::Expired => "Your session has ended. Sign in again, then repeat this.".into(),
            Self::Unreachable => "The server cannot be reached. Check the connection and try again.".into(),
            Self::Unexpected(status) => {
                format!("The server gave an answer that is not understood ({status}).")
            }
        }
    }

    /// The same with each value that is not acceptable, for where no form stands that shows them.
    pub(crate) fn in_full(&self) -> String {
        let message = self.message();
        match self {
            Self::Problem(problem) if !problem.errors.is_empty() => {
                let wrong: Vec<_> = self.wrong_values(&[]).collect();
                format!("{}: {}", message.trim_end_matches('.'), wrong.join("; "))
            }
            _ => message,
        }
    }

    /// The values that are not acceptable, each by the label of its field.
    pub(crate) fn wrong_values(&self, own: Labels) -> impl Iterator<Item = String> {
        let errors = match self {
            Self::Problem(problem) => problem.errors.as_slice(),
            _ => &[],
        };
        errors.iter().map(move |error| {
            let detail = labels::sentence(&error.detail, own);
            match labels::field(&error.pointer, own) {
                field if field.is_empty() => detail,
                field => format!("{field}: {detail}"),
            }
        })
    }

    /// What to quote to an operator.
    pub(crate) fn request_id(&self) -> Option<String> {
        match self {
            Self::Problem(problem) => Some(problem.request_id.clone()),
            _ => None,
        }
    }

    /// What is wrong with the field at this JSON pointer, or with a part of it.
    pub(crate) fn of_field(&self, pointer: &str) -> Option<String> {
        let Self::Problem(problem) = self else {
            return None;
        };
        let within = |at: &str| {
            at.strip_prefix(pointer)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        problem
            .errors
            .iter()
            .find(|error| within(&error.pointer))
            .map(|error| error.detail.clone())
    }

    /// Whether the thing was changed since it was read.
    pub(crate) fn is_stale(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status == 412)
    }

    /// Whether the person must first prove once more who they are.
    pub(crate) fn is_unproven(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.kind == "/problems/reauthentication-required")
    }

    /// Whether the server understood the request and will not do it: trying again changes nothing.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status < 500)
    }

    /// Whether the thing asked for does not exist (or is not ours to see).
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Problem(problem) if problem.status == 404)
    }
}

/// A write that can be tried before it is made.
#[derive(Clone)]
pub(crate) struct Write {
    method: Method,
    path: String,
    version: Option<i64>,
    body: Option<String>,
}

impl Write {
    /// Creates or does something.
    pub(crate) fn post(path: &str, body: &impl Serialize) -> Self {
        Self {
            method: Method::POST,
            path: path.to_owned(),
            version: None,
            body: Some(to_json(body)),
        }
    }

    /// The same, if what it changes is of this version still.
    pub(crate) fn of_version(self, version: Option<i64>) -> Self {
        Self { version, ..self }
    }

    /// Changes the version that was read by a merge patch.
    pub(crate) fn patch(path: &str, version: i64, body: &impl Serialize) -> Self {
        Self {
            method: Method::PATCH,
            path: path.to_owned(),
            version: Some(version),
            body: Some(to_json(body)),
        }
    }

    /// Removes or revokes something.
    pub(crate) fn delete(path: &str) -> Self {
        Self {
            method: Method::DELETE,
            path: path.to_owned(),
            version: None,
            body: None,
        }
    }
}

/// The connection to the server; cheap to copy, one per page load.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    csrf: RwSignal<Option<String>>,
    /// True from the first 401 until somebody has signed in again.
    pub(crate) expired: RwSignal<bool>,
    /// True while something waits for a proof of who is signed in, because the last one is too old for it.
    pub(crate) unproven: RwSignal<bool>,
    /// Whether the person says that they gave it.
    pub(crate) proven: RwSignal<bool>,
    /// True when a list of the page was too long to be shown whole.
    pub(crate) cut: RwSignal<bool>,
    /// The keys of writes that have not succeeded yet, by what they send.
    attempts: StoredValue<HashMap<u64, String>>,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            csrf: RwSignal::new(None),
            expired: RwSignal::new(false),
            unproven: RwSignal::new(false),
            proven: RwSignal::new(false),
            cut: RwSignal::new(false),
            attempts: StoredValue::new(HashMap::new()),
        }
    }

    /// The key of an attempt. The same write has the same key until it has succeeded: when only its answer was
    /// lost, the next try brings that answer, and whatever it shows this once.
    fn attempt(self, path: &str, body: &str) -> (u64, String) {
        let mut hasher = DefaultHasher::new();
        (path, body).hash(&mut hasher);
        let mark = hasher.finish();
        let mut key = String::new();
        self.attempts.update_value(|all| {
            let known = all.entry(mark);
            key.clone_from(known.or_insert_with(fresh_key));
        });
        (mark, key)
    }

    /// Who is signed in; also picks up the CSRF token that writes need.
    pub(crate) async fn session(self) -> Answer<Session> {
        let session: Session = self.get("/session").await?;
        self.csrf.set(session.csrf_token.clone());
        self.expired.set(false);
        Ok(session)
    }

    /// Reads one thing. `path` is relative to `/api/v1`.
    pub(crate) async fn get<T: DeserializeOwned>(self, path: &str) -> Answer<T> {
        decode(self.send(Method::GET, path, None, None).await?)
    }

    /// Reads the first page of a list, as long as pages may be. `path` may carry a query.
    pub(crate) async fn first<T: DeserializeOwned>(self, path: &str) -> Answer<Listed<T>> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let page: Page<T> = self.get(&format!("{path}{glue}limit=200")).await?;
        Ok(Listed {
            items: page.items,
            more: page.next.is_some(),
        })
    }

    /// Reads a whole list, page by page; the frame says so when it is too long for that. `path` may carry a query.
    pub(crate) async fn all<T: DeserializeOwned>(self, path: &str) -> Answer<Vec<T>> {
        let glue = if path.contains('?') { '&' } else { '?' };
        let mut items = Vec::new();
        let mut cursor = None;
        for _ in 0..MOST_PAGES {
            let after = cursor.map_or_else(String::new, |c: String| format!("&cursor={}", encode(&c)));
            let page: Page<T> = self.get(&format!("{path}{glue}limit=200{after}")).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
        self.cut.set(true);
        Ok(items)
    }

    /// Creates or does something.
    pub(crate) async fn post<T: DeserializeOwned>(self, path: &str, body: &impl Serialize) -> Answer<T> {
        decode(self.send(Method::POST, path, Some(to_json(body)), None).await?)
    }

    /// Makes a write.
    pub(crate) async fn write<T: DeserializeOwned>(self, write: Write) -> Answer<T> {
        decode(
            self.send(write.method, &write.path, write.body, write.version)
                .await?,
        )
    }

    /// Tries a write: what would change, and who would gain or lose access by it. Nothing is changed.
    pub(crate) async fn preview(self, write: Write) -> Answer<Preview> {
        let path = format!("{}?dry_run=true", write.path);
        decode(self.send(write.method, &path, write.body, write.version).await?)
    }

    async fn send(
        self,
        method: Method,
        path: &str,
        body: Option<String>,
        version: Option<i64>,
    ) -> Answer<(u16, String)> {
        loop {
            let sent = self.send_once(method.clone(), path, body.clone(), version).await;
            match &sent {
                Err(failure) if failure.is_unproven() && self.is_confirmed().await => {}
                _ => return sent,
            }
        }
    }

    /// Asks for a proof, and says whether the person gave it.
    async fn is_confirmed(self) -> bool {
        self.proven.set(false);
        self.unproven.set(true);
        while self.unproven.get_untracked() {
            gloo_timers::future::TimeoutFuture::new(ASK_AGAIN).await;
        }
        self.proven.get_untracked()
    }

    async fn send_once(
        self,
        method: Method,
        path: &str,
        body: Option<String>,
        version: Option<i64>,
    ) -> Answer<(u16, String)> {
        let writes = method != Method::GET;
        let creates = method == Method::POST;
        let mut request = RequestBuilder::new(&format!("/api/v1{path}"))
            .method(method)
            .header("accept", "application/json")
            .header(SOURCE_HEADER, "dashboard");
        if writes && let Some(token) = self.csrf.get_untracked() {
            request = request.header(CSRF_HEADER, &token);
        }
        if let Some(version) = version {
            request = request.header("if-match", &format!("\"v{version}\""));
        }
        let attempt = body
            .as_ref()
            .filter(|_| creates)
            .map(|body| self.attempt(path, body));
        if let Some((_, key)) = &attempt {
            request = request.header(ATTEMPT_HEADER, key);
        }
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request.build(),
        };
        let response = request.map_err(|_| Failure::Unreachable)?.send().await;
        let response = response.map_err(|_| Failure::Unreachable)?;
        let status = response.status();
        let text = response.text().await.map_err(|_| Failure::Unreachable)?;
        if response.ok() {
            if let Some((mark, _)) = attempt {
                self.attempts.update_value(|all| drop(all.remove(&mark)));
            }
            return Ok((status, text));
        }
        if status == 401 {
            self.expired.set(true);
            return Err(Failure::Expired);
        }
        Err(serde_json::from_str(&text).map_or(Failure::Unexpected(status), Failure::Problem))
    }
}

/// A key that this session has not used. It protects nothing, so it need not be unguessable.
fn fresh_key() -> String {
    format!(
        "{}-{}-{}",
        js_sys::Date::now(),
        js_sys::Math::random(),
        js_sys::Math::random()
    )
}

fn to_json(body: &impl Serialize) -> String {
    // Only maps with keys that are no text could fail, and the contract has none.
    serde_json::to_string(body).unwrap_or_default()
}

fn decode<T: DeserializeOwned>((status, text): (u16, String)) -> Answer<T> {
    let text = if text.is_empty() { "null" } else { &text };
    serde_json::from_str(text).map_err(|_| Failure::Unexpected(status))
}

/// Percent-encodes one query value.
pub(crate) fn encode(text: &str) -> String {
    js_sys::encode_uri_component(text).into()
}

/// A query string of the parameters that have a value, with its `?`.
pub(crate) fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut out = String::new();
    for (name, value) in pairs {
        if !value.is_empty() {
            out.push(if out.is_empty() { '?' } else { '&' });
            out.push_str(&format!("{name}={}", encode(&value)));
        }
    }
    out
}

/// The client that the app provides.
pub(crate) fn client() -> Client {
    expect_context()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(pointer: &str) -> Failure {
        let errors = vec![wire::FieldError {
            pointer: pointer.into(),
            detail: "wrong".into(),
        }];
        let (kind, title) = ("/problems/invalid".into(), "Invalid".into());
        Failure::Problem(Problem {
            kind,
            title,
            status: 400,
            detail: None,
            errors,
            request_id: "req_1".into(),
        })
    }

    #[test]
    fn a_field_shows_its_own_faults_and_those_inside_it() {
        assert_eq!(
            problem("/scopes/0/name").of_field("/scopes"),
            Some("wrong".into())
        );
        assert_eq!(problem("/scopes").of_field("/scopes"), Some("wrong".into()));
        assert_eq!(problem("/scopes_more").of_field("/scopes"), None);
        assert_eq!(Failure::Unreachable.of_field("/scopes"), None);
    }

    #[test]
    fn without_a_form_the_message_says_which_value_is_wrong() {
        assert_eq!(problem("/scopes/0").in_full(), "Invalid: Scopes, entry 1: wrong");
        assert_eq!(Failure::Expired.in_full(), Failure::Expired.message());
    }
}

//! One request for an app: proven, read, decided, written down, and then let through or answered.

use crate::cors::{self, Page};
use crate::credential::{Credential, Invalid, Known};
use crate::forward::{self, Passage};
use crate::reading::{self, Read};
use crate::ruling::{Asked, Ruling};
use crate::shown::{self, Shown};
use crate::site::Site;
use crate::watch::Watch;
use crate::{Answer, Ended, Gateway, answer, attempt, hidden_at, lying_at, mcp, record, recorder};
use axum::body::Body;
use futures_util::future::try_join_all;
use http::header::{AUTHORIZATION, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};
use std::time::{Duration, Instant};
use store::audit::Unanswered;
use wire::{Actor, AuditRequest, AuditResponse, Reason};

/// How old proof and rules may be when a message is decided about, which may have come slowly.
const FRESH: Duration = Duration::from_millis(250);
/// How long proving a credential, or writing a record, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// One request for an app.
pub(crate) struct Visit<'g> {
    pub(crate) gateway: &'g Gateway,
    pub(crate) site: Arc<Site>,
    pub(crate) audit: AuditRequest,
    pub(crate) started: Instant,
}

/// Why nobody is known.
#[derive(Debug, Clone, Copy)]
struct Stranger {
    reason: Reason,
    /// They sent wrong service tokens again and again; after so many seconds they may try again.
    wait: Option<i64>,
}

impl From<Reason> for Stranger {
    fn from(reason: Reason) -> Self {
        Self { reason, wait: None }
    }
}

impl Visit<'_> {
    pub(crate) async fn refuse_path(self) -> store::Result<Answer> {
        let ruling = Ruling::denied(Reason::AmbiguousPath);
        let id = self.audit.id.clone();
        self.record(None, &ruling, None).await?;
        Ok((
            Ended::Denied,
            answer::denied(StatusCode::BAD_REQUEST, ruling.reason, &id),
        ))
    }

    /// It came from here.
    pub(crate) async fn refuse_loop(self) -> store::Result<Answer> {
        let id = self.audit.id.clone();
        let ruling = Ruling::denied_for(Reason::PolicyDenied, "loop_detected");
        self.record(None, &ruling, None).await?;
        Ok((Ended::Denied, answer::loop_detected(&id)))
    }

    /// More than one credential, and nobody can tell which one counts.
    async fn refuse_ambiguous(self) -> store::Result<Answer> {
        let id = self.audit.id.clone();
        let ruling = Ruling::denied_for(Reason::CredentialInvalid, "ambiguous_credentials");
        self.record(None, &ruling, None).await?;
        let message = "A service token is sent alone, once, without another credential.";
        Ok((
            Ended::Denied,
            answer::json(StatusCode::BAD_REQUEST, "invalid_request", message, &id),
        ))
    }

    /// A page that must not talk to the app is behind it.
    async fn refuse_page(self, parts: &Parts, known: Option<&Known>) -> store::Result<Answer> {
        let id = self.audit.id.clone();
        let mut ruling = Ruling::denied_for(Reason::PolicyDenied, "foreign_origin");
        ruling.page = cors::origin_of(&parts.headers);
        let (store, view) = (&self.gateway.0.store, &self.site.view);
        recorder::foreign_page(store, view, &self.audit, ruling.page.as_deref());
        self.record(known, &ruling, None).await?;
        Ok((Ended::Denied, answer::foreign_origin(&id)))
    }

    pub(crate) async fn serve(self, mut parts: Parts, body: Body, page: &Page) -> store::Result<Answer> {
        let gateway = &self.gateway.0;
        if !gateway.credentials.are_current() {
            return Ok((Ended::Unavailable, answer::unavailable(&self.audit.id)));
        }
        let now = gateway.store.clock().now();
        if self.site.view.is_live()
            && let Some(answer) = page.preflight(&self.site, &parts)
        {
            return Ok((Ended::Own, answer));
        }
        let shown = Shown::of(&parts.headers, &self.site.session_cookie);
        let shown = if page.is_allowed() {
            shown.sent_by_page()
        } else {
            shown
        };
        if matches!(shown, Shown::Ambiguous) {
            return self.refuse_ambiguous().await;
        }
        let known = self.prove(&shown, now).await?;
        if page.is_refused_at(&self.site) {
            return self.refuse_page(&parts, known.as_deref().ok()).await;
        }
        if let Ok(known) = &known {
            gateway.credentials.note_use(known, self.audit.ip.as_deref(), now);
        }
        let live = self.site.view.is_live();
        if let Err(stranger) = known
            && !(live && self.site.maybe_public)
        {
            let stranger = if live { stranger } else { Reason::Disabled.into() };
            return self.turn_away(&parts, stranger).await;
        }
        let ip = self.audit.ip.as_deref().and_then(|ip| ip.parse().ok());
        let stranger = match shown {
            Shown::One(Credential::Bearer(_)) => Actor::Agent,
            Shown::One(Credential::Service { .. }) | Shown::NoServiceToken => Actor::Service,
            _ => Actor::Browser,
        };
        let began = Instant::now();
        let read = reading::read(&self.site, &mut parts, body, |path| self.is_another_apps(path)).await;
        let (Read { mcp, destination }, body) = match read {
            // Who waits with the end of a message must not have what held at its beginning.
            Ok((_, body)) if began.elapsed() > FRESH => {
                let authority = self.site.view.authority.clone();
                let request = Request::from_parts(parts, body);
                let gateway = self.gateway;
                let again = gateway.route(&authority, request, self.audit, self.started);
                return Box::pin(again).await;
            }
            Ok(read) => read,
            Err(unreadable) => {
                let asked = Asked {
                    method: parts.method.as_str(),
                    path: parts.uri.path(),
                    destination: None,
                    mcp: None,
                    ip,
                    stranger,
                };
                // Strangers learn how to come in, not what is wrong with their message, unless they need not come in.
                if let Err(unknown) = &known
                    && !asked.decide(&self.site, None, now).allowed
                {
                    return self.turn_away(&parts, *unknown).await;
                }
                let answer = unreadable.answer(&self.audit.id);
                let ruling = Ruling::denied_for(Reason::PolicyDenied, unreadable.detail);
                self.record(known.as_deref().ok(), &ruling, None).await?;
                return Ok((Ended::Denied, answer));
            }
        };
        let asked = Asked {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            destination: destination.as_deref(),
            mcp: mcp.as_ref(),
            ip,
            stranger,
        };
        let ruling = asked.decide(&self.site, known.as_deref().ok(), now);
        match (known, ruling.allowed) {
            (Err(stranger), false) => self.turn_away(&parts, stranger).await,
            // Signing in again is all that is missing.
            (Ok(known), false) if ruling.reason.asks_to_sign_in() => {
                self.turn_back(&parts, &known, ruling).await
            }
            (Ok(known), false) => self.deny(&parts, &known, ruling, mcp).await,
            (Ok(known), true) if self.is_foreign_websocket(&parts, &known) => {
                let ruling = Ruling::denied_for(Reason::PolicyDenied, "foreign_websocket");
                self.deny(&parts, &known, ruling, mcp).await
            }
            (known, true) => {
                let (known, credential) = match (known, shown) {
                    (Ok(known), Shown::One(credential)) => (Some(known), Some(credential)),
                    _ => (None, None),
                };
                let watch = Watch {
                    gateway: self.gateway.clone(),
                    view: Arc::clone(&self.site.view),
                    credential,
                    stranger,
                    method: parts.method.clone(),
                    path: parts.uri.path().to_owned(),
                    destination,
                    mcp: mcp.clone(),
                    ip,
                    end: AtomicU8::new(0),
                    progress: AtomicU64::new(0),
                    broken: AtomicBool::new(false),
                };
                self.let_through((parts, body), known.as_deref(), ruling, watch)
                    .await
            }
        }
    }

    /// Whether a path of this host leads to another app, as it is written or as its origin may read it.
    fn is_another_apps(&self, path: &str) -> bool {
        let directory = self.gateway.0.store.directory();
        let views = directory.at_authority(&self.site.view.authority);
        let view = lying_at(views, path);
        let view = hidden_at(views, path, view).or(view);
        view.is_none_or(|view| view.app.id != self.site.view.app.id)
    }

    async fn prove(
        &self,
        shown: &Shown,
        now: wire::Timestamp,
    ) -> store::Result<Result<Arc<Known>, Stranger>> {
        let credential = match shown {
            Shown::Nothing => return Ok(Err(Reason::Unauthenticated.into())),
            Shown::Several | Shown::Ambiguous | Shown::NoServiceToken => {
                return Ok(Err(Reason::CredentialInvalid.into()));
            }
            Shown::One(Credential::Bearer(_)) if !self.site.view.app.spec.managed_oauth => {
                return Ok(Err(Reason::ManagedOauthOff.into()));
            }
            Shown::One(credential) => credential,
        };
        let proven = self.gateway.0.credentials.prove(&self.site, credential, now);
        match tokio::time::timeout(PATIENCE, proven).await {
            Ok(proven) => Ok(proven?.map_err(|invalid| Stranger {
                reason: Reason::CredentialInvalid,
                wait: match invalid {
                    Invalid::Wrong => None,
                    Invalid::TooMany(seconds) => Some(seconds),
                },
            })),
            Err(_) => Err(store::Error::internal("proving a credential took too long")),
        }
    }

    /// Whether a page of another origin opens a WebSocket with the browser's session; browsers let it.
    fn is_foreign_websocket(&self, parts: &Parts, known: &Known) -> bool {
        let own = |v: &HeaderValue| v.as_bytes() == self.site.view.public_origin.as_bytes();
        forward::is_websocket(parts) && known.is_browser() && !parts.headers.get(ORIGIN).is_some_and(own)
    }

    /// Nobody is known: the way in, or none.
    async fn turn_away(self, parts: &Parts, Stranger { reason, wait }: Stranger) -> store::Result<Answer> {
        let (id, ip) = (self.audit.id.clone(), self.audit.ip.clone());
        let (site, store) = (Arc::clone(&self.site), self.gateway.0.store.clone());
        let bears = parts.headers.contains_key(AUTHORIZATION);
        let is_service = shown::has_service_token(&parts.headers);
        if is_service && reason == Reason::CredentialInvalid {
            self.record(None, &Ruling::denied(reason), None).await?;
            return Ok((Ended::Challenged, answer::wrong_service_token(wait, &id)));
        }
        let is_browser = !bears && answer::is_navigation(parts);
        // Nobody is signed in, and for agents there is no way to be.
        let reason = match reason {
            Reason::Unauthenticated if !is_browser && !site.view.app.spec.managed_oauth => {
                Reason::ManagedOauthOff
            }
            other => other,
        };
        if !is_browser {
            recorder::challenged(&store, &site.view, &self.audit, (parts, reason));
        }
        self.record(None, &Ruling::denied(reason), None).await?;
        let answer = match reason {
            Reason::Disabled if is_browser => {
                let text = record::words(reason);
                (
                    Ended::Denied,
                    answer::page(&site, StatusCode::FORBIDDEN, "Switched off", text, &id),
                )
            }
            Reason::Disabled => (Ended::Denied, answer::denied(StatusCode::FORBIDDEN, reason, &id)),
            _ if is_browser => {
                let begun = attempt::begin(&store, &site, parts, ip.as_deref());
                (Ended::Challenged, begun.await?)
            }
            _ => (Ended::Challenged, {
                let tried = reason == Reason::CredentialInvalid && bears;
                answer::challenge(&site, tried, parts.uri.query(), &id)
            }),
        };
        Ok(answer)
    }

    /// Somebody is known whose identity provider has not vouched for them for too long: they are sent to sign in, and
    /// an agent is told that its token is good no more.
    async fn turn_back(self, parts: &Parts, known: &Known, ruling: Ruling) -> store::Result<Answer> {
        let (id, ip) = (self.audit.id.clone(), self.audit.ip.clone());
        let (site, store) = (Arc::clone(&self.site), self.gateway.0.store.clone());
        self.record(Some(known), &ruling, None).await?;
        let answer = if known.is_browser() && answer::is_navigation(parts) {
            attempt::begin(&store, &site, parts, ip.as_deref()).await?
        } else {
            answer::challenge(&site, known.agent().is_some(), parts.uri.query(), &id)
        };
        Ok((Ended::Challenged, answer))
    }

    /// Somebody is known, and may not.
    async fn deny(
        self,
        parts: &Parts,
        known: &Known,
        ruling: Ruling,
        mcp: Option<mcp::Asked>,
    ) -> store::Result<Answer> {
        let id = self.audit.id.clone();
        let site = Arc::clone(&self.site);
        recorder::denied(&self.gateway.0.store, &site.view, &self.audit, (known, &ruling));
        self.record(Some(known), &ruling, mcp).await?;
        let response = if ruling.reason == Reason::InsufficientScope {
            answer::insufficient_scope(&site, &ruling.needed, parts.uri.query(), &id)
        } else if known.is_browser() && answer::is_navigation(parts) {
            let text = record::words(ruling.reason);
            answer::page(&site, StatusCode::FORBIDDEN, "Access refused", text, &id)
        } else {
            answer::denied(StatusCode::FORBIDDEN, ruling.reason, &id)
        };
        Ok((Ended::Denied, response))
    }

    async fn let_through(
        self,
        (parts, body): (Parts, Body),
        known: Option<&Known>,
        ruling: Ruling,
        watch: Watch,
    ) -> store::Result<Answer> {
        let gateway = &self.gateway.0;
        let now = gateway.store.clock().now();
        let minted = known
            .map(|known| forward::mint(&gateway.keyring, &self.site, known, now))
            .transpose()?;
        let passage = Passage {
            site: Arc::clone(&self.site),
            parts,
            body,
            request_id: self.audit.id.clone(),
            peer: self.audit.ip.clone(),
            minted,
            watch: Arc::new(watch),
        };
        let started = self.started;
        let mcp = passage.watch.mcp.clone();
        let site = Arc::clone(&self.site);
        let is_news = known
            .and_then(Known::agent)
            .is_some_and(|agent| agent.way_in.is_open());
        let audit = is_news.then(|| self.audit.clone());
        let requests = self.record(known, &ruling, mcp).await?;
        // From here on the record is durable, so the origin may see the request.
        let sent = forward::forward(&gateway.upstream, passage).await;
        if let Some(audit) = audit {
            recorder::called(&gateway.store, &site.view, &audit, (known, sent.ended));
        }
        if let Some(why) = sent.refused {
            gateway.note_refused(&site, why).await;
        }
        let micros = i64::try_from(started.elapsed().as_micros()).unwrap_or(i64::MAX);
        for request in requests {
            let seen = AuditResponse {
                status: sent.response.status().as_u16(),
                micros,
            };
            gateway.store.record_response(request, seen);
        }
        Ok((sent.ended, sent.response))
    }

    /// Writes down what was decided, and returns when that is durable. What strangers are refused is counted
    /// where it repeats itself: nobody who is not known decides how long the log gets.
    async fn record(
        self,
        known: Option<&Known>,
        ruling: &Ruling,
        mcp: Option<mcp::Asked>,
    ) -> store::Result<Vec<Unanswered>> {
        let events = record::events(&self.site, known, ruling, self.audit, mcp);
        let store = &self.gateway.0.store;
        let folds = known.is_none() && !ruling.allowed;
        let written = try_join_all(events.into_iter().map(async |event| match folds {
            true => store.record_folded(event).await.map(|()| None),
            false => store.record_request(event).await.map(Some),
        }));
        match tokio::time::timeout(PATIENCE, written).await {
            Ok(written) => Ok(written?.into_iter().flatten().collect()),
            Err(_) => Err(store::Error::internal("writing the record took too long")),
        }
    }
}

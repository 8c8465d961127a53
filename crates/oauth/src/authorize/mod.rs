//! `/oauth/{app}/authorize`: a person decides whether an agent may act for them.
//!
//! ```text
//! GET ── client, redirect URI ──✗ page        (no side effects up to here, so that pre-fetching is harmless)
//!        everything else ───────✗ page; to the client if its redirect was approved, or consented to before
//!        signed in through the app's connection? ──✗ /login
//!        may the person, with this client? ────────✗ page, with a link back
//!        consent page ── POST: all of it again, the page's token, once ──> code │ access_denied
//! ```

mod form;
mod page;
mod request;

use crate::client::{Agent, Missing, redirect as redirects};
use crate::context::{Body, Live, Request};
use crate::params::{LONGEST_FORM, Params};
use crate::{Oauth, audit};
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use broker::{SignedIn, page::redirect};
use http::{HeaderMap, StatusCode};
use request::{Asked, Back, Fault, Refusal, Wants};
use store::access::{AccessRequest, Principal, Proof};
use store::{AppView, grant::Consent};
use tokens::document::Unusable;
use tower_sessions::Session;
use wire::{AgentStepKind, Client, ClientState, ClientTier, Decision, Outcome, Reason};

/// `GET /oauth/{app}/authorize`
pub(crate) async fn ask(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    session: Session,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    let is_long = query.len() > LONGEST_FORM;
    let scene = Scene {
        oauth: &oauth,
        view: &view,
        request: &request,
        params: &Params::parse(if is_long { b"" } else { query.as_bytes() }),
    };
    if is_long {
        let page = page::fault(StatusCode::URI_TOO_LONG, "The request is too long.", &request);
        return scene
            .turn_away(None, ("invalid_request", "it is too long"), page)
            .await;
    }
    match scene.prepare(&session).await {
        Ok(ready) => {
            let step = scene.step(AgentStepKind::SignIn, Some(&ready.client));
            oauth.note(step.user(&ready.who.person.user.id));
            page::consent(&scene, &ready)
        }
        Err(response) => *response,
    }
}

/// `POST /oauth/{app}/authorize`: the person's decision, with the parameters of the request again.
pub(crate) async fn decide(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    (session, headers): (Session, crate::client::register::Headers),
    Body(body): Body,
) -> Response {
    let is_foreign = is_cross_site(&headers.0) || body.len() > LONGEST_FORM;
    let scene = Scene {
        oauth: &oauth,
        view: &view,
        request: &request,
        params: &Params::parse(if is_foreign { b"" } else { &body }),
    };
    if is_foreign {
        return scene
            .turn_away(None, ("form_refused", ""), page::forged(&request))
            .await;
    }
    let ready = match scene.prepare(&session).await {
        Ok(ready) => ready,
        Err(response) => return *response,
    };
    let Some(form) = form::read(&scene, &ready) else {
        let page = page::forged(&request);
        return scene
            .turn_away(Some(&ready.client), ("form_refused", ""), page)
            .await;
    };
    let decided = match scene.params.get("decision") {
        Some("allow") => scene.allow(&ready, &form).await,
        Some("deny") => scene.deny(&ready, &form).await,
        _ => {
            let page = page::fault(StatusCode::BAD_REQUEST, "The form was not complete.", &request);
            return scene
                .turn_away(Some(&ready.client), ("form_refused", ""), page)
                .await;
        }
    };
    match decided {
        Ok(Some(location)) => redirect(&location),
        Ok(None) => {
            let page = page::answered(&request);
            scene
                .turn_away(Some(&ready.client), ("form_refused", ""), page)
                .await
        }
        Err(error) => page::failed(error, &request),
    }
}

/// Browsers say where a form was sent from; a consent is only ever sent from our own page.
fn is_cross_site(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| site != "same-origin" && site != "none")
}

/// One request to `/authorize`.
pub(crate) struct Scene<'a> {
    pub(crate) oauth: &'a Oauth,
    pub(crate) view: &'a AppView,
    pub(crate) request: &'a Request,
    pub(crate) params: &'a Params,
}

/// A request that only lacks the person's decision.
pub(crate) struct Ready {
    pub(crate) who: SignedIn,
    /// The client as it is, or will be, stored.
    agent: Agent,
    /// The client, trusted as far as its redirect URI in this request allows.
    pub(crate) client: Client,
    pub(crate) back: Back,
    pub(crate) wants: Wants,
    pub(crate) decision: Decision,
}

impl Scene<'_> {
    /// Everything before the decision; what stands in its way is the answer.
    async fn prepare(&self, session: &Session) -> Result<Ready, Box<Response>> {
        let (oauth, view, request) = (self.oauth, self.view, self.request);
        let asked = match request::read(oauth, view, self.params, request).await {
            Ok(asked) => asked,
            Err(Refusal::Local {
                status,
                text,
                reason,
                client,
            }) => {
                let page = page::fault(status, &text, request);
                let why = (reason, text.as_str());
                return Err(Box::new(self.turn_away(client.as_deref(), why, page).await));
            }
            Err(Refusal::Document { client_id, why }) => {
                return Err(Box::new(self.without_document(&client_id, &why).await));
            }
            Err(Refusal::Store(error)) => return Err(Box::new(page::failed(error, request))),
        };
        let Asked { agent, back, wants } = asked;
        // A client that is there and may not be used is told so before anybody signs in for it in vain.
        if agent.is_out() {
            let reason = audit::word(Reason::ClientNotAccepted);
            let page = page::waiting(view, &agent.client, request);
            return Err(Box::new(
                self.turn_away(Some(&agent.client), (&reason, ""), page).await,
            ));
        }
        if !oauth.store.is_current() {
            return Err(Box::new(page::failed(unavailable(), request)));
        }
        let who = broker::signed_in(session, &oauth.store).await;
        let who = who.map_err(|error| Box::new(page::failed(error, request)))?;
        let who = who.filter(|who| who.person.org == view.org && view.signs_in(&who.person.user.connection));
        let wants = match wants {
            Ok(wants) => wants,
            Err(fault) => return Err(Box::new(self.fault(&agent, &back, who.as_ref(), fault).await)),
        };
        let who = who.ok_or_else(|| Box::new(self.sign_in(&agent.client, false)))?;
        let agent = match agent.settle(oauth, view, request).await {
            Ok(agent) => agent,
            Err(Missing::Store(error)) => return Err(Box::new(page::failed(error, request))),
            Err(_) => {
                let page = page::fault(StatusCode::TOO_MANY_REQUESTS, "Try again in a minute.", request);
                return Err(Box::new(self.turn_away(None, ("rate_limited", ""), page).await));
            }
        };
        let client = Client {
            tier: agent.client.tier_at(Some(&back.redirect_uri)),
            ..agent.client.clone()
        };
        let now = oauth.store.clock().now();
        let principal = Principal::Agent {
            person: &who.person,
            proof: Proof::Of(&who.authentication),
            client: &client,
            scopes: None,
        };
        let decision = view
            .decide(&AccessRequest::to_begin(principal, now))
            .to_decision();
        if decision.reason.asks_to_sign_in() {
            return Err(Box::new(self.sign_in(&client, true)));
        }
        let ready = Ready {
            who,
            agent,
            client,
            back,
            wants,
            decision,
        };
        if ready.decision.allowed {
            Ok(ready)
        } else {
            Err(Box::new(self.refuse(&ready).await))
        }
    }

    /// Turns a request away before anybody decided about it: with a page of ours, and in the log, however many come.
    /// What a stranger calls itself is written down only where there is a client.
    async fn turn_away(&self, client: Option<&Client>, why: (&str, &str), page: Response) -> Response {
        self.note_turned_away(client, why);
        let reason = why.0;
        let nobody = wire::AuditActor::of(wire::ActorKind::Anonymous);
        let actor = client.map_or(nobody, audit::anonymous);
        let mut event = audit::event(self.view, self.request, "authorize.denied", actor);
        audit::refused(&mut event, reason.to_owned(), None);
        match self.oauth.store.record_folded(event).await {
            Ok(()) => page,
            Err(error) => page::failed(error, self.request),
        }
    }

    /// Turns away whose document cannot be used; the log says which and why, so that somebody can mend it, or pin another.
    async fn without_document(&self, client_id: &str, why: &Unusable) -> Response {
        self.note_document(why);
        let nobody = wire::AuditActor::of(wire::ActorKind::Anonymous);
        let mut event = audit::event(self.view, self.request, "client.document_refused", nobody);
        event.target = Some(wire::AuditTarget {
            kind: "document".to_owned(),
            id: client_id.to_owned(),
            name: None,
            app: Some(self.view.app.id.clone()),
            user: None,
        });
        audit::refused(&mut event, why.code.to_owned(), None);
        match self.oauth.store.record_folded(event).await {
            Ok(()) => page::without_document(client_id, why, self.request),
            Err(error) => page::failed(error, self.request),
        }
    }

    /// A fault of the request is for the client, but where an answer goes is the client's choice: it goes only
    /// where an administrator approved it, or this person had answers go before. Otherwise whoever can make a
    /// link could have us send people anywhere (RFC 9700 section 4.11.2).
    async fn fault(&self, agent: &Agent, back: &Back, who: Option<&SignedIn>, fault: Fault) -> Response {
        let (code, text) = fault;
        let client = &agent.client;
        self.note_fault(client, fault);
        let approved = client.tier == ClientTier::Approved && client.state == ClientState::Active;
        let known = match who {
            Some(who) if !approved => self.went_before(&who.person.user.id, client, back).await,
            _ => Ok(false),
        };
        let mut event = audit::event(
            self.view,
            self.request,
            "authorize.denied",
            audit::anonymous(client),
        );
        audit::refused(&mut event, code.to_owned(), None);
        if let Err(error) = self.oauth.store.record_folded(event).await {
            return page::failed(error, self.request);
        }
        match known {
            Ok(known) if approved || known => redirect(&back.error(code, text)),
            Ok(_) => {
                // Without its name: before anybody signed in, a stranger writes nothing on our pages.
                let text = format!("The agent made a request that cannot be used: {text} ({code}).");
                page::fault(StatusCode::BAD_REQUEST, &text, self.request)
            }
            Err(error) => page::failed(error, self.request),
        }
    }

    async fn went_before(&self, user: &wire::UserId, client: &Client, back: &Back) -> store::Result<bool> {
        let store = &self.oauth.store;
        let known = store::grant::redirects(store, user, &client.id, store.clock().now()).await?;
        Ok(known
            .iter()
            .any(|known| redirects::matches(known, &back.redirect_uri)))
    }

    /// To the sign-in of the app's account, and back to this request; where somebody is known, for a newer word of
    /// their provider.
    fn sign_in(&self, client: &Client, is_known: bool) -> Response {
        self.oauth.note(self.step(AgentStepKind::Authorize, Some(client)));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let own = ["csrf", "decision"];
        query.extend_pairs(
            self.params
                .pairs()
                .iter()
                .filter(|(name, _)| !own.contains(&name.as_str())),
        );
        let return_to = format!("/oauth/{}/authorize?{}", self.view.app.id, query.finish());
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("account", self.view.app.account.as_ref());
        query.append_pair("return_to", &return_to);
        if is_known {
            query.append_pair("renew", "1");
        }
        redirect(&format!("/login?{}", query.finish()))
    }

    /// Refuses a person, durably recorded, and says why.
    async fn refuse(&self, ready: &Ready) -> Response {
        self.note_refused(&ready.client, &ready.who.person.user.id, &ready.decision);
        let actor = audit::person(&ready.who, &ready.client);
        let mut event = audit::event(self.view, self.request, "authorize.denied", actor);
        audit::decided(&mut event, &ready.decision);
        match self.oauth.store.record(event).await {
            Ok(()) if ready.client.state != ClientState::Active => {
                page::waiting(self.view, &ready.client, self.request)
            }
            Ok(()) => page::refused(self, ready),
            Err(error) => page::failed(error, self.request),
        }
    }

    /// Makes the grant and its code; where to send the browser, or nowhere if the page was answered before.
    async fn allow(&self, ready: &Ready, form: &form::Form) -> store::Result<Option<String>> {
        let (view, wants) = (self.view, &ready.wants);
        let code = store::random_secret("")?;
        let mut tx = self.oauth.store.begin().await?;
        if !form.spend(&mut tx).await? {
            return Ok(None);
        }
        let mut events = Vec::new();
        let client = match ready.agent.register(&mut tx, view, self.request).await? {
            Some((client, event)) => {
                events.push(event);
                client
            }
            None => ready.client.clone(),
        };
        if client.source == wire::ClientSource::MetadataDocument {
            self.oauth.documents.store(&mut tx, &client.client_id).await?;
        }
        let lifetime = i64::from(view.app.spec.oauth.grant_seconds);
        let consent = Consent {
            org: &view.org,
            account: &view.app.account,
            app: &view.app.id,
            user: &ready.who.person.user.id,
            client: &client.id,
            scopes: &wants.scopes,
            authentication: &ready.who.authentication,
            expires_at: tx.now().plus_seconds(lifetime),
        };
        let binding = (
            ready.back.redirect_uri.as_str(),
            wants.challenge.as_str(),
            view.resource(),
        );
        let code_hash = store::sha256(&code);
        let grant = store::grant::issue(&mut tx, &consent, &code_hash, binding).await?;
        if let Some(nonce) = &wants.nonce {
            store::grant::keep_nonce(&mut tx, &code_hash, nonce).await?;
        }
        let mut actor = audit::person(&ready.who, &client);
        actor.grant = Some(grant.clone());
        let mut event = audit::event(view, self.request, "consent.allow", actor);
        audit::decided(&mut event, &ready.decision);
        event.outcome = Outcome::Allowed;
        event.change = audit::shown(&ready.client, &ready.back.redirect_uri);
        events.push(event);
        tx.commit_all(events).await?;
        let step = self.step(AgentStepKind::Consent, Some(&client));
        let step = step.user(&ready.who.person.user.id).grant(&grant);
        self.oauth.note(step.received(wants.scopes.join(" ")));
        Ok(Some(ready.back.with(&[("code", &code)])))
    }

    async fn deny(&self, ready: &Ready, form: &form::Form) -> store::Result<Option<String>> {
        let mut tx = self.oauth.store.begin().await?;
        if !form.spend(&mut tx).await? {
            return Ok(None);
        }
        let actor = audit::person(&ready.who, &ready.client);
        let mut event = audit::event(self.view, self.request, "consent.deny", actor);
        event.outcome = Outcome::Denied;
        event.reason = Some("person_denied".into());
        event.change = audit::shown(&ready.client, &ready.back.redirect_uri);
        tx.commit(event).await?;
        let step = self.step(AgentStepKind::Consent, Some(&ready.client));
        self.oauth
            .note(step.user(&ready.who.person.user.id).failed("person_denied"));
        Ok(Some(ready.back.error("access_denied", "the person said no")))
    }
}

fn unavailable() -> store::Error {
    store::Error::Conflict("this instance is catching up; try again in a moment".into())
}

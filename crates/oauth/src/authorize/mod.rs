//! `/oauth/{app}/authorize`: a person decides whether an agent may act for them.
//!
//! ```text
//! GET ── client, redirect URI ──✗ page        (no side effects up to here, so that pre-fetching is harmless)
//!        everything else ───────✗ back to the client with an error
//!        signed in through the app's connection? ──✗ /login
//!        may the person, with this client? ────────✗ page, with a link back
//!        consent page ── POST: all of it again, CSRF token ──> code │ access_denied
//! ```

mod page;
mod request;

pub(crate) use request::same_resource;

use crate::client::Agent;
use crate::context::{Body, Live, Request};
use crate::params::{LONGEST_FORM, Params};
use crate::{Oauth, audit};
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use broker::{SignedIn, page::redirect};
use http::{HeaderMap, StatusCode};
use request::{Asked, Refusal, Wants};
use store::access::{AccessRequest, Principal, Proof};
use store::{AppView, grant::Consent};
use tower_sessions::Session;
use wire::{Client, ClientState, Decision, Outcome, Reason};

/// `GET /oauth/{app}/authorize`
pub(crate) async fn ask(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    session: Session,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query.unwrap_or_default();
    if query.len() > LONGEST_FORM {
        return page::fault(StatusCode::URI_TOO_LONG, "The request is too long.", &request);
    }
    let scene = Scene {
        oauth: &oauth,
        view: &view,
        request: &request,
        params: &Params::parse(query.as_bytes()),
    };
    match scene.prepare(&session).await {
        Ok(ready) => page::consent(&scene, &ready),
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
    if is_cross_site(&headers.0) || body.len() > LONGEST_FORM {
        return page::forged(&request);
    }
    let scene = Scene {
        oauth: &oauth,
        view: &view,
        request: &request,
        params: &Params::parse(&body),
    };
    let ready = match scene.prepare(&session).await {
        Ok(ready) => ready,
        Err(response) => return *response,
    };
    let token = scene.params.get("csrf").unwrap_or_default();
    if !ready.who.csrf_ok(&oauth.store, &scene.purpose(&ready), token) {
        return page::forged(&request);
    }
    let decided = match scene.params.get("decision") {
        Some("allow") => scene.allow(&ready).await,
        Some("deny") => scene.deny(&ready).await,
        _ => return page::fault(StatusCode::BAD_REQUEST, "The form was not complete.", &request),
    };
    match decided {
        Ok(location) => redirect(&location),
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
    pub(crate) client: Client,
    pub(crate) wants: Wants,
    pub(crate) decision: Decision,
}

impl Scene<'_> {
    /// Everything before the decision; what stands in its way is the answer.
    async fn prepare(&self, session: &Session) -> Result<Ready, Box<Response>> {
        let (oauth, view, request) = (self.oauth, self.view, self.request);
        let asked = request::read(oauth, view, self.params, request).await;
        let Asked { agent, wants } = asked.map_err(|refusal| match refusal {
            Refusal::Local { status, text } => Box::new(page::fault(status, &text, request)),
            Refusal::Back(location) => Box::new(redirect(&location)),
            Refusal::Store(error) => Box::new(page::failed(error, request)),
        })?;
        // A client that is there and blocked is told so before anybody signs in for it in vain.
        if agent.client.version > 0 && agent.client.state != ClientState::Active {
            return Err(Box::new(page::waiting(view, &agent.client, request)));
        }
        if !oauth.store.is_current() {
            return Err(Box::new(page::failed(unavailable(), request)));
        }
        let who = broker::signed_in(session, &oauth.store).await;
        let who = who.map_err(|error| Box::new(page::failed(error, request)))?;
        let who = who
            .filter(|who| who.person.org == view.org && view.signs_in(&who.person.user.connection))
            .ok_or_else(|| Box::new(self.sign_in()))?;
        let client = self.settle(agent, &who).await;
        let client = client.map_err(|error| Box::new(page::failed(error, request)))?;
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
        if decision.reason == Reason::ProofTooOld {
            return Err(Box::new(self.sign_in()));
        }
        let ready = Ready {
            who,
            client,
            wants,
            decision,
        };
        if ready.decision.allowed {
            Ok(ready)
        } else {
            Err(Box::new(self.refuse(&ready).await))
        }
    }

    async fn settle(&self, agent: Agent, who: &SignedIn) -> store::Result<Client> {
        let person = (&who.person, &who.session);
        agent.remember(self.oauth, self.view, person, self.request).await
    }

    /// To the sign-in of the app's account, and back to this request.
    fn sign_in(&self) -> Response {
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
        redirect(&format!("/login?{}", query.finish()))
    }

    /// Refuses a person, durably recorded, and says why.
    async fn refuse(&self, ready: &Ready) -> Response {
        let actor = audit::person(&ready.who.person, &ready.who.session, &ready.client);
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

    /// What the CSRF token of the consent page stands for: this person, this client as it is now, and
    /// every parameter that matters. Change one, and the token is worthless.
    pub(crate) fn purpose(&self, ready: &Ready) -> String {
        let version = ready.client.version.to_string();
        let scopes = ready.wants.scopes.join(" ");
        let parts = [
            self.view.app.id.as_ref(),
            ready.who.person.user.id.as_ref(),
            ready.client.id.as_ref(),
            &version,
            &ready.wants.back.redirect_uri,
            ready.wants.back.state.as_deref().unwrap_or_default(),
            &ready.wants.challenge,
            &scopes,
            self.view.resource(),
        ];
        let mut text = String::new();
        for part in parts {
            text.push_str(&format!("{}:{part};", part.len()));
        }
        format!("consent {}", store::sha256(text))
    }

    /// Makes the grant and its code; where to send the browser.
    async fn allow(&self, ready: &Ready) -> store::Result<String> {
        let (view, wants) = (self.view, &ready.wants);
        let code = store::random_secret("")?;
        let mut tx = self.oauth.store.begin().await?;
        let lifetime = i64::from(view.app.spec.oauth.grant_seconds);
        let consent = Consent {
            org: &view.org,
            account: &view.app.account,
            app: &view.app.id,
            user: &ready.who.person.user.id,
            client: &ready.client.id,
            scopes: &wants.scopes,
            authentication: &ready.who.authentication,
            expires_at: tx.now().plus_seconds(lifetime),
        };
        let binding = (
            wants.back.redirect_uri.as_str(),
            wants.challenge.as_str(),
            view.resource(),
        );
        let grant = store::grant::issue(&mut tx, &consent, &store::sha256(&code), binding).await?;
        let mut actor = audit::person(&ready.who.person, &ready.who.session, &ready.client);
        actor.grant = Some(grant);
        let mut event = audit::event(view, self.request, "consent.allow", actor);
        audit::decided(&mut event, &ready.decision);
        event.outcome = Outcome::Allowed;
        tx.commit(event).await?;
        Ok(wants.back.with(&[("code", &code)]))
    }

    async fn deny(&self, ready: &Ready) -> store::Result<String> {
        let actor = audit::person(&ready.who.person, &ready.who.session, &ready.client);
        let mut event = audit::event(self.view, self.request, "consent.deny", actor);
        event.outcome = Outcome::Denied;
        event.reason = Some("person_denied".into());
        self.oauth.store.record(event).await?;
        Ok(ready.wants.back.error("access_denied", "the person said no"))
    }
}

fn unavailable() -> store::Error {
    store::Error::Conflict("this instance is catching up; try again in a moment".into())
}

//! `POST /oauth/{app}/token`: this module owns the phases, the grants fill in what differs.
//!
//! ```text
//! form ─ client authentication ─ resource ─ grant finds its credential ─ person, client, policy ─ mint
//!      ─ grant spends its credential, in one transaction with the event ─ answer (never cached)
//! ```
//! Nothing is spent before everything that can refuse has been asked, so a bad request costs nothing.

mod assertion;
mod client_auth;
mod code;
mod refresh;

pub(crate) use client_auth::{Asks, client_of};

use crate::answer::{OauthError, no_store};
use crate::context::{Body, Live, Request};
use crate::params::Params;
use crate::{Oauth, audit, people, recorder, resource};
use axum::{extract::State, response::Response};
use http::{HeaderMap, StatusCode};
use serde_json::json;
use store::access::{Principal, Proof};
use store::{AppView, client::Registered, user::Person};
use tokens::{AccessClaims, Act, IdClaims, PersonClaims};
use wire::{Decision, Grant, GrantId, GrantState, RuleRef};

/// `POST /oauth/{app}/token`
pub(crate) async fn endpoint(
    State(oauth): State<Oauth>,
    Live(view): Live,
    request: Request,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, OauthError> {
    if !oauth.store.is_current() {
        return Err(OauthError::unavailable());
    }
    let posted = (&headers, body.as_ref());
    let (client, params) = match client_of((&oauth, &view), &request, posted, Asks::Own).await {
        Ok(found) => found,
        Err(error) => {
            if error.status.is_client_error() {
                recorder::not_proven(&oauth, (&view, &request), posted, error.code).await;
            }
            return Err(error);
        }
    };
    let exchange = Exchange {
        oauth: &oauth,
        view: &view,
        request: &request,
        client: &client,
        params: &params,
    };
    match exchange.run().await {
        Ok(response) => Ok(response),
        Err(refusal) => {
            note(&oauth, &view, &request, (&client, &refusal)).await;
            if refusal.error.status.is_client_error() {
                let why = recorder::NoToken {
                    client: &client.client,
                    params: &params,
                    reason: &refusal.reason,
                    grant: refusal.grant.as_ref(),
                };
                recorder::no_token(&oauth, (&view, &request), &why);
            }
            Err(refusal.error)
        }
    }
}

/// Why no token is issued: what the client is told, and what the log says besides.
pub(super) struct Refusal {
    pub(super) error: OauthError,
    reason: String,
    rule: Option<RuleRef>,
    person: Option<Box<Person>>,
    grant: Option<GrantId>,
    /// Already in the log, with what else happened.
    recorded: bool,
}

impl Refusal {
    fn plain(reason: impl Into<String>, error: OauthError) -> Self {
        Self {
            error,
            reason: reason.into(),
            rule: None,
            person: None,
            grant: None,
            recorded: false,
        }
    }

    /// `invalid_grant`; the description is the same whatever the reason, the reason goes to the log.
    pub(super) fn grant(reason: &'static str) -> Self {
        Self::plain(
            reason,
            OauthError::invalid_grant("the code or token is not valid (any more)"),
        )
    }

    pub(super) fn about(self, grant: &GrantId) -> Self {
        Self {
            grant: Some(grant.clone()),
            ..self
        }
    }

    fn decided(decision: Decision, person: Person, grant: &GrantId) -> Self {
        Self {
            error: OauthError::invalid_grant("the person may not use this app with this client any more"),
            reason: audit::word(decision.reason),
            rule: decision.rule,
            person: Some(Box::new(person)),
            grant: Some(grant.clone()),
            recorded: false,
        }
    }
}

impl From<OauthError> for Refusal {
    fn from(error: OauthError) -> Self {
        Self::plain(error.code, error)
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        OauthError::from(error).into()
    }
}

/// Records a refusal. That it fails changes nothing: nothing was allowed.
async fn note(oauth: &Oauth, view: &AppView, request: &Request, (client, refusal): (&Registered, &Refusal)) {
    if refusal.recorded || refusal.error.status.is_server_error() {
        return;
    }
    let actor = audit::agent(&client.client, refusal.person.as_deref(), refusal.grant.as_ref());
    let mut event = audit::event(view, request, "token.refuse", actor);
    audit::refused(&mut event, refusal.reason.clone(), refusal.rule.clone());
    if let Err(error) = oauth.store.record_folded(event).await {
        tracing::error!(%error, source = ?error, "a refused token request could not be recorded");
    }
}

/// One token request of an authenticated client.
pub(super) struct Exchange<'a> {
    pub(super) oauth: &'a Oauth,
    pub(super) view: &'a AppView,
    pub(super) request: &'a Request,
    pub(super) client: &'a Registered,
    pub(super) params: &'a Params,
}

/// What a grant type found: a credential that is good so far, and not spent yet.
enum Credential {
    /// An authorization code.
    Code(code::Found),
    /// A refresh token.
    Refresh(refresh::Found),
}

/// Why a grant is not in force.
const fn why_over(grant: &Grant) -> Option<&'static str> {
    match grant.state {
        GrantState::Active => None,
        GrantState::Revoked => Some("grant_revoked"),
        GrantState::Expired => Some("grant_expired"),
    }
}

/// Everything that the answer consists of, ready before the credential is spent.
pub(super) struct Ready {
    pub(super) grant: Grant,
    pub(super) person: Person,
    pub(super) decision: Decision,
}

impl Exchange<'_> {
    async fn run(&self) -> Result<Response, Refusal> {
        if !resource::is_meant(self.oauth, self.view, self.params) {
            let error = OauthError::new(
                StatusCode::BAD_REQUEST,
                "invalid_target",
                "resource is not the one that this issuer stands for",
            );
            return Err(error.into());
        }
        let credential = match self.params.get("grant_type") {
            Some("authorization_code") => Credential::Code(code::find(self).await?),
            Some("refresh_token") => Credential::Refresh(refresh::find(self).await?),
            Some(_) => {
                let error = OauthError::new(
                    StatusCode::BAD_REQUEST,
                    "unsupported_grant_type",
                    "grant_type must be authorization_code or refresh_token",
                );
                return Err(error.into());
            }
            None => return Err(OauthError::invalid_request("grant_type is missing").into()),
        };
        let (grant, scopes) = match &credential {
            Credential::Code(found) => (&found.grant, &found.grant.scopes),
            Credential::Refresh(found) => (&found.grant, &found.scopes),
        };
        let ready = self.judge(grant).await?;
        let scope = scopes.join(" ");
        let (access_token, expires_in) = self.mint(&ready, &scope)?;
        let id_token = match &credential {
            Credential::Code(found) => self.identify(&ready, &found.nonce, (&access_token, expires_in))?,
            Credential::Refresh(_) => None,
        };
        let refresh_token = match credential {
            Credential::Code(found) => code::spend(self, &found, &ready).await?,
            Credential::Refresh(found) => refresh::spend(self, &found, &ready).await?,
        };
        let mut answer = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": expires_in,
            "refresh_token": refresh_token,
            "scope": scope,
        });
        if let Some(id_token) = id_token {
            answer["id_token"] = id_token.into();
        }
        Ok(no_store(StatusCode::OK, answer))
    }

    /// Whether person, client and policy still stand behind the grant.
    async fn judge(&self, grant: &Grant) -> Result<Ready, Refusal> {
        let now = self.oauth.store.clock().now();
        let person = store::user::by_id(&self.oauth.store, &grant.user).await?;
        let person = person
            .filter(|person| person.org == self.view.org)
            .ok_or_else(|| Refusal::grant("no_such_person").about(&grant.id))?;
        let decision = people::may_go_on(self.view, (&person, grant), &self.client.client, now);
        if !decision.allowed {
            return Err(Refusal::decided(decision, person, &grant.id));
        }
        Ok(Ready {
            grant: grant.clone(),
            person,
            decision,
        })
    }

    /// The access token and its life in seconds; it never outlives the grant.
    fn mint(&self, ready: &Ready, scope: &str) -> store::Result<(String, i64)> {
        let now = self.oauth.store.clock().now().seconds();
        let life = i64::from(self.view.app.spec.oauth.access_token_seconds);
        // No token says that it outlives what it hangs on.
        let until = self.view.good_until(Principal::Agent {
            person: &ready.person,
            proof: Proof::Of(&ready.grant.authentication),
            client: &self.client.client,
            scopes: None,
        });
        let end = until.map_or(ready.grant.expires_at, |until| until.min(ready.grant.expires_at));
        let expires_in = life.min(end.seconds() - now).max(0);
        let client_id = self.client.client.client_id.clone();
        let claims = AccessClaims {
            iss: tokens::metadata::issuer(self.view, &self.oauth.control_url),
            aud: self.view.resource().to_owned(),
            sub: ready.person.user.id.clone(),
            client_id: client_id.clone(),
            scope: scope.to_owned(),
            jti: uuid::Uuid::now_v7().simple().to_string(),
            iat: now,
            nbf: None,
            exp: now + expires_in,
            grant: ready.grant.id.clone(),
            act: Act { sub: client_id },
        };
        let token = self.oauth.keyring.mint_access(&self.view.org, &claims)?;
        Ok((token, expires_in))
    }

    /// The ID token beside an access token, if the grant asks for one and the app still gives them. It is for the client
    /// that signed somebody in, so it comes with the code and not again.
    fn identify(
        &self,
        ready: &Ready,
        nonce: &Option<String>,
        (access_token, expires_in): (&str, i64),
    ) -> store::Result<Option<String>> {
        let (view, grant) = (self.view, &ready.grant);
        if !view.app.spec.oauth.openid || !grant.scopes.iter().any(|scope| scope == "openid") {
            return Ok(None);
        }
        let now = self.oauth.store.clock().now().seconds();
        let claims = IdClaims {
            iss: tokens::metadata::issuer(view, &self.oauth.control_url),
            aud: self.client.client.client_id.clone(),
            iat: now,
            exp: now + expires_in,
            nonce: nonce.clone(),
            at_hash: tokens::at_hash(access_token),
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            person: PersonClaims::of(view, &ready.person, &grant.scopes),
        };
        let claims = claims.proven_by(&grant.authentication);
        self.oauth.keyring.mint_id(&view.org, &claims).map(Some)
    }

    /// The grant of a credential, if it is of this app and in force.
    pub(super) async fn grant_in_force(&self, id: &GrantId) -> Result<Grant, Refusal> {
        let now = self.oauth.store.clock().now();
        let grant = store::grant::of_app(&self.oauth.store, &self.view.app.id, id, now).await?;
        let grant = grant.ok_or_else(|| Refusal::grant("other_app"))?;
        match why_over(&grant) {
            None => Ok(grant),
            Some(reason) => Err(Refusal::grant(reason).about(id)),
        }
    }

    /// Ends a grant whose credential was used again: whoever holds the tokens, one of two is a thief.
    pub(super) async fn revoke(&self, grant: &GrantId, reason: &'static str) -> Refusal {
        let mut refusal = Refusal::grant(reason).about(grant);
        let revoked = async {
            let mut tx = self.oauth.store.begin().await?;
            let which = store::grant::Which::One(grant);
            let revoked = store::grant::revoke_where(&mut tx, which, reason).await?;
            if revoked.is_empty() {
                // It was ended before; that somebody still tries is a refusal like others.
                return Ok(false);
            }
            let actor = audit::agent(&self.client.client, None, Some(grant));
            let mut refused = audit::event(self.view, self.request, "token.refuse", actor.clone());
            audit::refused(&mut refused, reason.to_owned(), None);
            let mut events = vec![refused];
            for id in &revoked {
                events.push(audit::grant_ended(
                    self.view,
                    self.request,
                    actor.clone(),
                    (id, reason),
                ));
            }
            tx.commit_all(events).await.map(|()| true)
        };
        match revoked.await {
            Ok(written) => refusal.recorded = written,
            Err(error) => return error.into(),
        }
        refusal
    }
}

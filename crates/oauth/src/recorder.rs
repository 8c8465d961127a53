//! What the flight recorder is told of agents and their people here: at each step one call.

use crate::authorize::Scene;
use crate::client::redirect;
use crate::context::Request;
use crate::params::Params;
use crate::{Oauth, audit};
use http::{HeaderMap, header::AUTHORIZATION};
use store::{AppView, recorder::Step};
use tokens::document::{self, Unusable};
use wire::{
    AgentStepKind, Client, ClientId, ClientState, ClientTier, Decision, GrantId, Reason, RegistrationRules,
};

impl Oauth {
    pub(crate) fn note(&self, step: Step) {
        self.store.note_step(step);
    }
}

pub(crate) fn step(view: &AppView, request: &Request, kind: AgentStepKind) -> Step {
    Step::new(view, &request.0, kind)
}

/// A registration that came to nothing.
pub(crate) fn not_registered(
    oauth: &Oauth,
    (view, request): (&AppView, &Request),
    (code, description): (&str, &str),
    body: &[u8],
) {
    let rules = &view.app.spec.oauth.registration;
    let step = step(view, request, AgentStepKind::Registration);
    oauth.note(match code {
        "registration_off" => step
            .failed(code)
            .expected("no registration: it is switched off at this app"),
        "invalid_redirect_uri" => {
            let step = step.failed(code).received(description).expected(allowed(rules));
            match refused_redirect(body, rules) {
                Some(uri) => step.subject(&uri).received(&uri),
                None => step,
            }
        }
        "access_denied" => {
            let tier = best_tier(body);
            let lowest = word(rules.lowest_tier);
            let step = step.failed("registration_tier").received(word(tier));
            step.expected(format!("the tier {lowest} or a higher one"))
                .subject(&word(tier))
        }
        _ => step.failed(code).received(description),
    });
}

/// Redirect URIs that agents may register at an app, in words.
fn allowed(rules: &RegistrationRules) -> String {
    let presets = rules.redirect_presets.iter().map(word);
    let all: Vec<_> = presets.chain(rules.redirect_uris.iter().cloned()).collect();
    format!("one that the app allows: {}", all.join(", "))
}

/// The first redirect URI that could be allowed, and is not.
fn refused_redirect(body: &[u8], rules: &RegistrationRules) -> Option<String> {
    let document: serde_json::Value = serde_json::from_slice(body).ok()?;
    let uris = document["redirect_uris"].as_array()?;
    let mut uris = uris.iter().filter_map(|uri| uri.as_str());
    uris.find(|uri| redirect::parse(uri).is_ok() && redirect::judge(uri, rules, None).is_err())
        .map(ToOwned::to_owned)
}

/// The best tier that the redirect URIs of a registration earn.
fn best_tier(body: &[u8]) -> ClientTier {
    let document: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let uris = document["redirect_uris"].as_array().into_iter().flatten();
    let tiers = uris
        .filter_map(|uri| uri.as_str())
        .map(|uri| ClientTier::earned(None, uri));
    tiers.max().unwrap_or(ClientTier::Localhost)
}

/// A word of the API.
fn word(value: impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

impl Scene<'_> {
    /// A step of this authorization request.
    pub(super) fn step(&self, kind: AgentStepKind, client: Option<&Client>) -> Step {
        let pairs = self.params.pairs().iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        let step =
            step(self.view, self.request, kind).asked(store::recorder::asked(&self.view.app.id, pairs));
        match (client, self.params.get("client_id")) {
            (Some(client), _) => step.client(client),
            (None, Some(client_id)) => step.client_id(client_id),
            (None, None) => step,
        }
    }

    /// It was turned away before anybody decided about it.
    pub(crate) fn note_turned_away(&self, client: Option<&Client>, (reason, why): (&str, &str)) {
        let rules = &self.view.app.spec.oauth.registration;
        let client_id = self.params.get("client_id").unwrap_or_default();
        let asked = self.params.get("redirect_uri").unwrap_or_default();
        let at = |kind| self.step(kind, client);
        let step = match (reason, client) {
            ("client_unknown", _) if document::host(client_id).is_some() && !rules.metadata_documents => {
                at(AgentStepKind::Document)
                    .failed("documents_off")
                    .received(client_id)
            }
            ("client_unknown", _) => at(AgentStepKind::Authorize).failed(reason).received(client_id),
            ("redirect_not_registered", Some(client)) => at(AgentStepKind::Authorize)
                .failed(reason)
                .expected(client.redirect_uris.join(", "))
                .received(asked),
            ("redirect_not_allowed", _) => at(AgentStepKind::Authorize)
                .failed(reason)
                .expected(allowed(rules))
                .received(asked)
                .subject(asked),
            ("client_not_accepted", Some(client)) => {
                not_accepted(at(AgentStepKind::Authorize), client, rules)
            }
            ("form_refused", _) => at(AgentStepKind::Consent).failed(reason),
            _ => at(AgentStepKind::Authorize).failed(reason).received(why),
        };
        self.oauth.note(step);
    }

    /// Its metadata document cannot be used.
    pub(crate) fn note_document(&self, why: &Unusable) {
        let rules = &self.view.app.spec.oauth.registration;
        let could =
            |asked: &&str| redirect::parse(asked).is_ok() && redirect::judge(asked, rules, None).is_err();
        let asked = self.params.get("redirect_uri").filter(could);
        let step = self.step(AgentStepKind::Document, None).received(&why.text);
        self.oauth.note(match (why.is_refusal(), asked) {
            // The app may allow it.
            (true, Some(asked)) if why.code == "invalid_redirect_uri" => {
                step.failed("document_refused").subject(asked)
            }
            (true, _) => step.failed("document_refused"),
            (false, _) => step
                .failed("document_unreadable")
                .expected("a document of at most 5 kB, as JSON, over https"),
        });
    }

    /// Something else is wrong with the request of a client that is known.
    pub(crate) fn note_fault(&self, client: &Client, (code, text): (&str, &str)) {
        let step = self.step(AgentStepKind::Authorize, Some(client));
        let challenge = self.params.get("code_challenge");
        let method = self.params.get("code_challenge_method");
        self.oauth.note(match code {
            "invalid_request" if challenge.is_none() => step
                .failed("pkce_missing")
                .expected("code_challenge, of the method S256"),
            "invalid_request" if method != Some("S256") => step
                .failed("pkce_plain")
                .expected("code_challenge_method=S256")
                .received(method.unwrap_or("no method, which means plain")),
            "invalid_target" => step
                .failed(code)
                .expected(self.view.resource())
                .received(self.params.all("resource").collect::<Vec<_>>().join(" ")),
            "invalid_scope" => step
                .failed(code)
                .expected(self.view.scopes.names().collect::<Vec<_>>().join(" "))
                .received(self.params.get("scope").unwrap_or_default()),
            _ => step.failed(code).received(text),
        });
    }

    /// The person may not.
    pub(crate) fn note_refused(&self, client: &Client, user: &wire::UserId, decision: &Decision) {
        let step = self.step(AgentStepKind::SignIn, Some(client)).user(user);
        let rules = &self.view.app.spec.oauth.registration;
        self.oauth.note(match decision.reason {
            Reason::ClientNotAccepted => not_accepted(step, client, rules),
            reason => decided(step.failed(&audit::word(reason)), decision),
        });
    }
}

/// Names the rule that decided.
fn decided(step: Step, decision: &Decision) -> Step {
    match &decision.rule {
        Some(rule) => step.received(&rule.name),
        None => step,
    }
}

fn not_accepted(step: Step, client: &Client, rules: &RegistrationRules) -> Step {
    match client.state {
        ClientState::Pending => step.failed("client_waiting").received(&client.name),
        ClientState::Blocked => step.failed("client_blocked").received(&client.name),
        ClientState::Active => {
            let tier = word(client.tier);
            let lowest = word(rules.lowest_tier);
            let step = step
                .failed("tier_too_low")
                .expected(format!("the tier {lowest} or a higher one"));
            step.received(&tier).subject(&tier)
        }
    }
}

/// Nobody proved to be the client that a token request names.
pub(crate) async fn not_proven(
    oauth: &Oauth,
    (view, request): (&AppView, &Request),
    (headers, body): (&HeaderMap, &[u8]),
    code: &str,
) {
    let step = step(view, request, AgentStepKind::Token);
    let Some(client_id) = Params::form(headers, body)
        .ok()
        .and_then(|form| named(headers, &form))
    else {
        let code = if code == "invalid_client" {
            "client_unauthenticated"
        } else {
            code
        };
        return oauth.note(
            step.failed(code)
                .expected("client_id, and the client's secret if it has one"),
        );
    };
    let found = store::client::by_client_id(&oauth.store, &view.app.id, &client_id).await;
    oauth.note(match (found, code) {
        (Ok(None), _) => step
            .client_id(&client_id)
            .failed("client_unknown")
            .received(&client_id),
        (Ok(Some(found)), "invalid_client") => step
            .client(&found.client)
            .failed("client_unauthenticated")
            .expected(&found.client.token_endpoint_auth_method),
        _ => step.client_id(&client_id).failed(code),
    });
}

/// The `client_id` that a token request names, in whichever way.
fn named(headers: &HeaderMap, form: &Params) -> Option<String> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    if let Some(id) = form.get("client_id") {
        return Some(id.to_owned());
    }
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?.1;
    let decoded = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (id, _) = decoded.rsplit_once(':')?;
    // An identifier of ours; what a stranger put there could be anything.
    id.parse::<ClientId>().is_ok().then(|| id.to_owned())
}

/// Why a proven client gets no token.
pub(crate) struct NoToken<'a> {
    pub(crate) client: &'a Client,
    pub(crate) params: &'a Params,
    pub(crate) reason: &'a str,
    pub(crate) grant: Option<&'a GrantId>,
}

pub(crate) fn no_token(oauth: &Oauth, (view, request): (&AppView, &Request), why: &NoToken<'_>) {
    let step = step(view, request, AgentStepKind::Token)
        .client(why.client)
        .failed(why.reason);
    let step = match why.grant {
        Some(grant) => step.grant(grant),
        None => step,
    };
    let verifier = why.params.get("code_verifier");
    oauth.note(match why.reason {
        "verifier_mismatch" => step
            .expected("the code_verifier of the code_challenge that was sent before")
            .received(if verifier.is_some() { "another one" } else { "none" }),
        "redirect_mismatch" => step
            .expected("the redirect_uri of the authorization request")
            .received(why.params.get("redirect_uri").unwrap_or("none")),
        "invalid_target" => step
            .expected(view.resource())
            .received(why.params.all("resource").collect::<Vec<_>>().join(" ")),
        "invalid_scope" => step.received(why.params.get("scope").unwrap_or_default()),
        "unsupported_grant_type" => step
            .expected("authorization_code or refresh_token")
            .received(why.params.get("grant_type").unwrap_or_default()),
        _ => step,
    });
}

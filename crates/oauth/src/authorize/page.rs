//! What the person sees at `/authorize`: the consent page, and why there is none.

use super::{Ready, Scene, form};
use crate::{audit, client::redirect, context::Request};
use askama::Template;
use axum::response::Response;
use broker::page::{Forms, error_page, html};
use http::{HeaderValue, StatusCode, header};
use store::AppView;
use tokens::document::Unusable;
use wire::{Client, ClientTier, Reason};

/// The scopes of OpenID Connect in plain words.
const OPENID: [(&str, &str); 3] = [
    ("openid", "Know that it is you, by a number that stays the same"),
    ("profile", "Know your name"),
    ("email", "Know your e-mail address"),
];

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    app: &'a str,
    resource: &'a str,
    account: &'a str,
    client: &'a Client,
    /// The host that may stand for the client's name.
    proven: Option<&'a str>,
    tier: Tier,
    returns_to: String,
    redirect_uri: &'a str,
    receiver: &'static str,
    scopes: Vec<(&'a str, &'a str)>,
    lifetime: String,
    oldest: Option<String>,
    person: &'a str,
    action: String,
    fields: Vec<(&'a str, &'a str)>,
    csrf: String,
}

#[derive(Template)]
#[template(path = "denied.html")]
struct Denied<'a> {
    title: &'a str,
    text: &'a str,
    request_id: &'a str,
    client: &'a str,
    back: &'a str,
}

/// A tier in words.
struct Tier {
    label: &'static str,
    meaning: &'static str,
    badge: &'static str,
}

impl Tier {
    const fn of(tier: ClientTier) -> Self {
        let (label, meaning, badge) = match tier {
            ClientTier::Approved => (
                "Approved",
                "An administrator of your organisation approved this agent.",
                "badge-success",
            ),
            ClientTier::DomainVerified => (
                "Domain verified",
                "The address above is proven: it describes the agent, and it gets the access. What it does with it is not.",
                "badge-success",
            ),
            ClientTier::Unverified => (
                "Unverified",
                "Nobody checked who made this agent: its name is only what it says of itself.",
                "badge-warning",
            ),
            ClientTier::Localhost => (
                "Unverified, on a computer",
                "A program that says it runs on your own computer. Go on only if you started it yourself just now.",
                "badge-warning",
            ),
        };
        Self {
            label,
            meaning,
            badge,
        }
    }
}

/// Who gets the access, as far as that is known.
fn receiver(client: &Client, redirect_uri: &str) -> &'static str {
    match redirect::parse(redirect_uri) {
        _ if client.proves_receiver(redirect_uri) => "proven: the same address describes the agent",
        Ok((redirect::Kind::Https, _)) => "not proven to be the agent's own",
        _ => "not proven: any program on that computer can ask in this name",
    }
}

/// The consent page.
pub(super) fn consent(scene: &Scene<'_>, ready: &Ready) -> Response {
    let view = scene.view;
    let user = &ready.who.person.user;
    let own = ["csrf", "decision"];
    let spec = &view.app.spec;
    let describe = |name: &'_ String| {
        let own = spec.oauth.scopes.iter().find(|scope| scope.name == *name);
        let own = own.map(|scope| (scope.name.as_str(), scope.description.as_str()));
        own.or_else(|| OPENID.into_iter().find(|(scope, _)| scope == name))
    };
    let csrf = match form::token(scene, ready) {
        Ok(csrf) => csrf,
        Err(error) => return failed(error, scene.request),
    };
    let (client, redirect_uri) = (&ready.client, ready.back.redirect_uri.as_str());
    let counts = client.tier == ClientTier::Approved || client.proves_receiver(redirect_uri);
    let page = Consent {
        app: &spec.name,
        resource: view.resource(),
        account: &view.account.spec.name,
        client,
        proven: client.verified_host.as_deref().filter(|_| counts),
        tier: Tier::of(client.tier),
        returns_to: destination(redirect_uri),
        redirect_uri,
        receiver: receiver(client, redirect_uri),
        scopes: ready.wants.scopes.iter().filter_map(describe).collect(),
        lifetime: duration(spec.oauth.grant_seconds),
        oldest: view.limits_agents_of(&user.connection).map(duration),
        person: user
            .email
            .as_deref()
            .or(user.name.as_deref())
            .unwrap_or(&user.subject),
        action: format!("/oauth/{}/authorize", view.app.id),
        fields: scene
            .params
            .pairs()
            .iter()
            .filter(|(name, _)| !own.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect(),
        csrf,
    };
    html(StatusCode::OK, &page, Forms::Anywhere)
}

/// The person may not; the page names what to quote, and leads back to the agent.
pub(super) fn refused(scene: &Scene<'_>, ready: &Ready) -> Response {
    let back = ready.back.error(
        "access_denied",
        "the person may not use this app with this client",
    );
    let app = &scene.view.app.spec.name;
    let page = Denied {
        title: "You cannot allow this",
        text: &format!(
            "{} ({}).",
            explain(ready.decision.reason, app),
            audit::word(ready.decision.reason)
        ),
        request_id: &scene.request.0.id,
        client: &ready.client.name,
        back: &back,
    };
    let mut response = html(StatusCode::FORBIDDEN, &page, Forms::Anywhere);
    response
        .headers_mut()
        .insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn explain(reason: Reason, app: &str) -> String {
    match reason {
        Reason::UserDisabled => "Your access has been ended by an administrator".to_owned(),
        Reason::ConnectionNotBound => {
            format!("The way in which you signed in is not accepted for {app}")
        }
        Reason::ClientNotAccepted => format!("{app} does not accept this kind of agent"),
        Reason::OrganisationFloor => {
            format!("A rule of your organisation keeps you from using {app} with this agent")
        }
        _ => format!("The rules of {app} do not let you use it with this agent"),
    }
}

/// The client waits for an administrator, or was blocked by one.
pub(super) fn waiting(view: &AppView, client: &Client, request: &Request) -> Response {
    let text = format!(
        "{} may not be used with {} until an administrator has approved it. Nothing was granted.",
        client.verified_host.as_deref().unwrap_or("This agent"),
        view.app.spec.name
    );
    error_page(
        StatusCode::FORBIDDEN,
        "This agent waits for approval",
        &text,
        &request.0.id,
    )
}

/// A request that cannot be answered anywhere else.
pub(super) fn fault(status: StatusCode, text: &str, request: &Request) -> Response {
    error_page(status, "This request cannot be used", text, &request.0.id)
}

/// The document that describes the client cannot be used.
pub(super) fn without_document(client_id: &str, why: &Unusable, request: &Request) -> Response {
    let text = format!(
        "The agent is described by the document at {client_id}, which cannot be used: {} ({}). Nothing was granted.",
        why.text, why.code
    );
    fault(StatusCode::BAD_REQUEST, &text, request)
}

/// A decision that did not come from our page, or from one that is out of date.
pub(super) fn forged(request: &Request) -> Response {
    let text = "The page you answered is not valid any more. Nothing was granted. Go back to your agent and start again.";
    error_page(StatusCode::FORBIDDEN, "Please start again", text, &request.0.id)
}

/// A page that was answered before: each is good for one decision.
pub(super) fn answered(request: &Request) -> Response {
    let text = "This page was answered already. Nothing more was granted. Go back to your agent.";
    error_page(StatusCode::FORBIDDEN, "Answered already", text, &request.0.id)
}

/// Something on our side failed.
pub(super) fn failed(error: store::Error, request: &Request) -> Response {
    let status = match &error {
        store::Error::Unavailable(_)
        | store::Error::Conflict(_)
        | store::Error::Stale
        | store::Error::Busy => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    tracing::error!(%error, source = ?error, request = request.0.id, "an authorization request failed");
    error_page(
        status,
        "That did not work",
        "Nothing was granted. Try again in a moment.",
        &request.0.id,
    )
}

/// Where a code goes, for a reader who knows no URLs.
fn destination(redirect_uri: &str) -> String {
    match redirect::parse(redirect_uri) {
        Ok((redirect::Kind::Loopback, host)) => format!("a program on your computer ({host})"),
        Ok((redirect::Kind::Https, host)) => host,
        _ => {
            let scheme = redirect_uri.split(':').next().unwrap_or_default();
            format!("the program on your computer that opens {scheme}: links")
        }
    }
}

/// Seconds in the largest unit that leaves no rest worth telling.
fn duration(seconds: u32) -> String {
    let (count, unit) = match seconds {
        s if s >= 2 * 86_400 => (s / 86_400, "day"),
        s if s >= 2 * 3600 => (s / 3600, "hour"),
        s => (s.div_ceil(60), "minute"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_and_destinations_are_told_in_plain_words() {
        assert_eq!(duration(30 * 86_400), "30 days");
        assert_eq!(duration(86_400), "24 hours");
        assert_eq!(duration(300), "5 minutes");
        assert_eq!(duration(60), "1 minute");
        assert_eq!(
            destination("https://claude.ai/api/mcp/auth_callback"),
            "claude.ai"
        );
        assert_eq!(
            destination("http://127.0.0.1:9/cb"),
            "a program on your computer (127.0.0.1)"
        );
        assert_eq!(
            destination("cursor://anysphere.cursor-mcp/oauth/callback"),
            "the program on your computer that opens cursor: links"
        );
    }
}

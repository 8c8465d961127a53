//! Trying a connection: a link that anybody may open, a real sign-in at the provider by the one engine, and nobody
//! signed in at the end. Also what the API asks about providers.

use crate::audit::Stray;
use crate::budget::Act;
use crate::page::{Failure, Forms, html};
use crate::pending::{Pending, Purpose};
use crate::provider::{Attempt, Fault, Http, Prompt, Providers};
use crate::trace::Trace;
use crate::upstream::Returned;
use crate::{Broker, Visit, audit, claims};
use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt;
use wire::{
    ActorKind, AuditActor, AuditChange, AuditEvent, Connection, DiscoverRequest, Discovery, MappedIdentity,
    OrgId, Outcome, StepState, Trial, TrialId, TrialState, TrialStep,
};

/// Longest token of a URL that is looked up.
const MAX_TOKEN: usize = 100;

/// What is wrong with a provider, in words for an administrator.
#[derive(Debug)]
pub struct ProviderFault(String);

impl fmt::Display for ProviderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ProviderFault {}

/// What a connection would make of claims.
#[derive(Debug)]
pub struct Reading {
    /// Who they are about.
    pub identity: MappedIdentity,
    /// What the mapping names and does not find.
    pub missing: Vec<String>,
    /// Why a sign-in with them would be refused: the stable reason, and in words.
    pub refused: Option<(&'static str, String)>,
}

impl Broker {
    /// What a provider says about itself.
    ///
    /// # Errors
    /// When it cannot be reached, or its discovery document cannot be used.
    pub async fn discover(&self, request: &DiscoverRequest) -> Result<Discovery, ProviderFault> {
        let report = async {
            let http = Http::new(&self.providers().outbound, &request.allow_internal)?;
            crate::discovery::report(&http, &request.issuer).await
        };
        report.await.map_err(|fault| ProviderFault(fault.to_string()))
    }

    /// What gives reason for concern in the discovery document of a connection, as far as it is known.
    pub async fn concerns(&self, connection: &Connection) -> Vec<String> {
        self.providers().concerns(connection).await
    }

    /// Whether a connection of this kind can be tried.
    #[must_use]
    pub const fn can_be_tried(kind: wire::ConnectionKind) -> bool {
        Providers::redirects(kind)
    }

    /// Does what a sign-in through the connection does before a person is needed.
    ///
    /// # Errors
    /// When the database does not answer. What is wrong with the connection is in the steps.
    pub async fn begin_trial(&self, connection: &Connection) -> store::Result<(TrialState, Vec<TrialStep>)> {
        let mut trace = Trace::new();
        let attempt = Attempt::fresh(Prompt::AsNeeded)?;
        let begun = self
            .providers()
            .begin(self.store(), connection, (&attempt, true), &mut trace)
            .await;
        let state = match begun {
            Ok(_) => TrialState::Waiting,
            Err(Fault::Store(error)) => return Err(error),
            Err(_) => TrialState::Failed,
        };
        Ok((state, trace.into_steps()))
    }

    /// Where a trial goes on in a browser.
    #[must_use]
    pub fn trial_url(&self, token: &str) -> String {
        format!("{}/login/trial/{token}", self.control_url())
    }

    /// What the connection, as given, would make of claims.
    ///
    /// # Errors
    /// When a sign-in with them would not come as far as the mapping: they name nobody, or are too long.
    pub fn read_claims(
        &self,
        connection: &Connection,
        sample: &Map<String, Value>,
    ) -> Result<Reading, ProviderFault> {
        let read = claims::preview(connection, sample);
        let (identity, missing, refused) = read.map_err(|fault| ProviderFault(fault.to_string()))?;
        Ok(Reading {
            identity: claims::shown(&identity),
            missing,
            refused: refused.map(|fault| (fault.reason(), fault.to_string())),
        })
    }
}

#[derive(Template)]
#[template(path = "trial.html")]
struct TrialPage<'a> {
    organisation: &'a str,
    connection: &'a str,
    state: TrialState,
    steps: Vec<Step<'a>>,
    identity: Option<&'a MappedIdentity>,
    /// Where to begin, and the form's CSRF token; absent on the way back.
    form: Option<(&'a str, &'a str)>,
}

/// A step as the page shows it.
struct Step<'a> {
    label: &'a str,
    step: &'a TrialStep,
}

impl Step<'_> {
    fn mark(&self) -> &'static str {
        match self.step.state {
            StepState::Ok => "ok",
            StepState::Failed => "failed",
            StepState::Skipped => "not needed",
        }
    }
}

fn label(name: &str) -> &str {
    match name {
        "setup" => "Settings",
        "discovery" => "Discovery document",
        "issuer" => "Issuer",
        "endpoints" => "Endpoints",
        "keys" => "Keys",
        "client_secret" => "Client secret",
        "redirect" => "To the provider",
        "callback" => "Back from the provider",
        "token" => "Code redeemed",
        "id_token" => "ID token",
        "userinfo" => "Userinfo",
        "claims" => "Required claims",
        "mapping" => "Claim mapping",
        "admission" => "Let in",
        "profile" => "Profile",
        "emails" => "E-mail addresses",
        "organisations" => "Organisations",
        "teams" => "Teams",
        other => other,
    }
}

/// The purpose of the CSRF token in the form that begins a trial: of this one, so that a form begins no other.
fn purpose(trial: &Trial) -> String {
    format!("trial {}", trial.id)
}

/// Writes down that somebody tried a link that is good for nothing: made up, or over.
async fn note(visit: &Visit, token: &str) -> Result<(), Failure> {
    let ever = match token.len() <= MAX_TOKEN {
        true => store::trial::ever_by_token(visit.store(), &store::sha256(token)).await?,
        false => None,
    };
    let at = match ever {
        Some((org, id)) => {
            let connection = store::connection::get(visit.store(), &org, &id).await?;
            Some((
                org,
                connection.account.clone(),
                Some(audit::connection(&connection)),
            ))
        }
        None => None,
    };
    let stray = Stray {
        action: "connection.trial",
        reason: if at.is_some() {
            "link_ended"
        } else {
            "link_unknown"
        },
        at,
    };
    stray.record(&visit.broker, &visit.request).await;
    Ok(())
}

/// The trial of a link, its connection, and whose it is.
async fn load(visit: &Visit, token: &str) -> Result<(OrgId, Connection, Trial), Failure> {
    let found = if token.len() <= MAX_TOKEN {
        store::trial::by_token(visit.store(), &store::sha256(token)).await?
    } else {
        None
    };
    let Some((org, trial)) = found else {
        note(visit, token).await?;
        let text = "This link has ended: it works for an hour. Ask whoever sent it for a new one.";
        return Err(Failure::told(
            StatusCode::NOT_FOUND,
            "There is no such test",
            text,
        ));
    };
    let connection = store::connection::get(visit.store(), &org, &trial.connection).await?;
    Ok((org, connection, trial))
}

async fn page(
    visit: &Visit,
    (org, connection, trial): (&OrgId, &Connection, &Trial),
    form: Option<(&str, &str)>,
) -> Result<Response, Failure> {
    let organisation = store::org::get(visit.store(), org).await?;
    let page = TrialPage {
        organisation: &organisation.spec.name,
        connection: &connection.spec.name,
        state: trial.state,
        steps: trial
            .trace
            .iter()
            .map(|step| Step {
                label: label(&step.name),
                step,
            })
            .collect(),
        identity: trial.identity.as_ref(),
        form,
    };
    let mut response = html(StatusCode::OK, &page, Forms::Anywhere);
    // The address holds the link's token, or the provider's code.
    let policy = HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(header::REFERRER_POLICY, policy);
    Ok(response)
}

/// `GET /login/trial/{token}`: begins nothing by itself, because mail scanners follow links.
pub(crate) async fn show(visit: Visit, Path(token): Path<String>) -> Result<Response, Failure> {
    let (org, connection, trial) = load(&visit, &token).await?;
    let csrf = visit.form_token(&purpose(&trial));
    let form = Some((token.as_str(), csrf.as_str()));
    page(&visit, (&org, &connection, &trial), form).await
}

/// Nothing but the token.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Confirmed {
    csrf: Option<String>,
}

/// `POST /login/trial/{token}`: off to the provider. The link can be used again until it ends.
pub(crate) async fn run(
    visit: Visit,
    Path(token): Path<String>,
    form: Result<Form<Confirmed>, FormRejection>,
) -> Result<Response, Failure> {
    let csrf = form.ok().and_then(|Form(form)| form.csrf).unwrap_or_default();
    let (org, connection, mut trial) = load(&visit, &token).await?;
    if !visit.is_our_form(&purpose(&trial), &csrf) {
        return Err(Failure::Csrf);
    }
    // By link: whoever does not have it uses up nothing.
    if visit.has_spent(Act::Trial, trial.id.as_ref()) {
        let text = "Wait a minute, then try again.";
        return Err(Failure::told(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many attempts",
            text,
        ));
    }
    let attempt = Attempt::fresh(Prompt::AsNeeded)?;
    let mut trace = Trace::new();
    let providers = visit.broker.providers();
    let begun = providers
        .begin(visit.store(), &connection, (&attempt, true), &mut trace)
        .await;
    trial.trace = trace.into_steps();
    (trial.identity, trial.claims, trial.finished_at) = (None, None, None);
    match begun {
        Ok(url) => {
            trial.state = TrialState::Running;
            let mut tx = visit.store().begin().await?;
            store::trial::begin(&mut tx, &trial, &store::sha256(&attempt.state)).await?;
            tx.commit_housekeeping().await?;
            let purpose = Purpose::Trial(trial.id.clone());
            Pending::new(&visit, attempt, &connection, purpose)
                .send(&visit, &url)
                .await
        }
        Err(Fault::Store(error)) => Err(error.into()),
        Err(fault) => {
            end(&visit, (&org, &connection), (&mut trial, None), Err(fault)).await?;
            page(&visit, (&org, &connection, &trial), Some((&token, &csrf))).await
        }
    }
}

/// Back from the provider.
pub(crate) async fn finish(visit: &Visit, id: &TrialId, returned: &Returned) -> Result<Response, Failure> {
    let attempt = &returned.attempt;
    let found = store::connection::by_id(visit.store(), &attempt.connection).await?;
    let (org, connection) = found.ok_or(Failure::NotFound)?;
    if !store::trial::waits_for(visit.store(), id, &attempt.state).await? {
        return Err(overtaken());
    }
    let mut trial = store::trial::get(visit.store(), (&org, &connection.id), id).await?;
    let mut trace = Trace::after(std::mem::take(&mut trial.trace));
    let providers = visit.broker.providers();
    let result = match (returned.belongs(providers, &connection), returned.answer()) {
        (Err(fault), _) => Err(trace.failed("callback", fault)),
        (Ok(()), Ok(answer)) => {
            let identified = providers.identify(visit.store(), &connection, answer, &mut trace);
            identified.await.map(|identified| identified.identity)
        }
        (Ok(()), Err(error)) => {
            let fault = Fault::Answer(format!("it sent the browser back with {error}"));
            Err(trace.failed("callback", fault))
        }
    };
    let claims = trace.claims.take();
    trial.trace = trace.into_steps();
    let result = match result {
        Err(Fault::Store(error)) => return Err(error.into()),
        Err(fault) => {
            trial.claims = claims;
            Err(fault)
        }
        Ok(identity) => {
            trial.identity = Some(claims::shown(&identity));
            trial.claims = Some(identity.claims);
            Ok(())
        }
    };
    let ended = (&mut trial, Some(attempt.state.as_str()));
    end(visit, (&org, &connection), ended, result).await?;
    page(visit, (&org, &connection, &trial), None).await
}

/// Somebody else, or the same person in another tab, has begun the trial anew: what comes now belongs to nothing.
fn overtaken() -> Failure {
    let text = "Meanwhile it was started again by this link, perhaps in another browser. That run counts; or start it \
                once more.";
    Failure::told(StatusCode::CONFLICT, "This test was started again", text)
}

/// Writes down how it ended; after an attempt only if it is still the one that the trial waits for.
async fn end(
    visit: &Visit,
    (org, connection): (&OrgId, &Connection),
    (trial, attempt): (&mut Trial, Option<&str>),
    result: Result<(), Fault>,
) -> Result<(), Failure> {
    trial.state = match result {
        Ok(()) => TrialState::Passed,
        Err(_) => TrialState::Failed,
    };
    trial.finished_at = Some(visit.store().clock().now());
    let change = AuditChange {
        before: Value::Null,
        after: json!({ "trial": trial.id, "state": trial.state }),
    };
    let event = AuditEvent {
        account: connection.account.clone(),
        target: Some(audit::connection(connection)),
        outcome: match result {
            Ok(()) => Outcome::Success,
            Err(_) => Outcome::Failure,
        },
        reason: result.err().map(|fault| fault.reason().to_owned()),
        change: Some(change),
        ..audit::event(
            visit,
            org,
            "connection.trial",
            AuditActor::of(ActorKind::Anonymous),
        )
    };
    let mut tx = visit.store().begin().await?;
    let counts = match attempt {
        Some(attempt) => store::trial::finish(&mut tx, trial, attempt).await?,
        None => {
            store::trial::update(&mut tx, trial).await?;
            true
        }
    };
    if !counts {
        return Err(overtaken());
    }
    tx.commit(event).await?;
    Ok(())
}

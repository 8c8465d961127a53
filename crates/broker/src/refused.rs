//! Who is not let in through a provider: what the log says of it, and what the person is told.

use crate::page::Failure;
use crate::provider::Fault;
use crate::{Visit, audit, claims};
use http::StatusCode;
use wire::{AccountId, Connection, OrgId};

/// What somebody signs in to: organisation, connection, account.
pub(crate) type At<'a> = (&'a OrgId, &'a Connection, Option<&'a AccountId>);

/// Writes down that somebody was not let in.
pub(crate) async fn refuse(visit: &Visit, (org, connection, account): At<'_>, reason: &'static str) {
    let failed = audit::Failed {
        org,
        account,
        target: Some(audit::connection(connection)),
        reason,
    };
    audit::record_refusal(visit, failed.event(visit)).await;
}

/// The provider sent the browser back without a code.
pub(crate) async fn turned_away(visit: &Visit, at: At<'_>, error: &str) -> Failure {
    let name = &at.1.spec.name;
    match error {
        "access_denied" => {
            refuse(visit, at, "provider_denied").await;
            let text = format!(
                "{name} did not let you in, or you cancelled. Try again, or ask your administrator whether you \
                 may use this."
            );
            Failure::told(StatusCode::FORBIDDEN, "Sign-in was refused", text)
        }
        error => {
            let fault = Fault::Answer(format!("it sent the browser back with {error}"));
            failed(visit, at, fault).await
        }
    }
}

/// The provider, or what we know of it, is at fault.
pub(crate) async fn failed(visit: &Visit, (org, connection, account): At<'_>, fault: Fault) -> Failure {
    let fault = match fault {
        Fault::Store(error) => return error.into(),
        Fault::Refused(reason, text) => {
            return kept_out(visit, (org, connection, account), (reason, &text)).await;
        }
        fault => fault,
    };
    tracing::warn!(request = %visit.request.id, connection = %connection.id, %fault, "a sign-in failed");
    let failed = audit::Failed {
        org,
        account,
        target: Some(audit::connection(connection)),
        reason: fault.reason(),
    };
    let reason = failed.reason;
    let event = failed.event(visit);
    let noted = async {
        let mut tx = visit.store().begin().await?;
        // Whoever was not sent there tells nothing new of the provider; and sign-in works where confirming does not.
        // What came from somebody else than who was asked says nothing of the one, and stands in the log.
        let says_nothing = matches!(
            fault,
            Fault::Resting | Fault::Unproven(_) | Fault::Elsewhere | Fault::Changed
        );
        if !says_nothing {
            store::connection::note_health(&mut tx, &connection.id, Some(&fault.to_string())).await?;
            store::health::count(&mut tx, &connection.id, Some(reason), 0).await?;
        }
        tx.commit_housekeeping().await
    };
    if let Err(error) = noted.await {
        return error.into();
    }
    // Whoever sends made-up codes can cause as many of them as they like.
    audit::record_refusal(visit, event).await;
    let name = &connection.spec.name;
    match fault {
        Fault::Unreachable(_) | Fault::Resting => Failure::told(
            StatusCode::SERVICE_UNAVAILABLE,
            "Your sign-in service does not answer",
            format!("{name} cannot be reached at the moment. Try again in a few minutes."),
        ),
        Fault::Unproven(_) => Failure::told(
            StatusCode::FORBIDDEN,
            "Nothing was confirmed",
            format!(
                "{name} did not show that it asked you again just now. Sign out and sign in again instead: for 15 \
                 minutes after that you need not confirm anything."
            ),
        ),
        Fault::Changed => Failure::told(
            StatusCode::CONFLICT,
            "Changed meanwhile",
            format!(
                "{name} was set up anew while you were signing in. Go back to where you wanted to go and start again."
            ),
        ),
        Fault::Nameless => Failure::told(
            StatusCode::FORBIDDEN,
            "This sign-in cannot be trusted",
            format!(
                "The answer does not say that it comes from {name}. Tell your administrator: the connection needs a \
                 redirect URI of its own."
            ),
        ),
        Fault::Issuer | Fault::Elsewhere => Failure::told(
            StatusCode::FORBIDDEN,
            "This sign-in cannot be trusted",
            format!(
                "The answer does not come from {name}. Go back to where you wanted to go and start again."
            ),
        ),
        _ => Failure::told(
            StatusCode::BAD_GATEWAY,
            "Your sign-in service gave no usable answer",
            format!(
                "Signing in with {name} did not work. Try again; if it keeps failing, tell your administrator."
            ),
        ),
    }
}

/// Everything fits, but the connection does not let this person in.
pub(crate) async fn kept_out(visit: &Visit, at: At<'_>, (reason, why): (&'static str, &str)) -> Failure {
    refuse(visit, at, reason).await;
    let (title, text) = match reason {
        claims::GROUPS | claims::EMAIL_MALFORMED => {
            let title = match reason {
                claims::GROUPS => "Your groups cannot be used",
                _ => "Your e-mail address cannot be used",
            };
            let text =
                format!("Your sign-in worked, but you are not let in: {why}. Tell your administrator.");
            return Failure::told(StatusCode::FORBIDDEN, title, text);
        }
        claims::EMAIL_DOMAIN | claims::EMAIL_UNVERIFIED => (
            "Not for this address",
            "Your sign-in worked, but only people with a confirmed e-mail address of certain domains are let in \
             here. Ask your administrator.",
        ),
        claims::NOT_A_MEMBER => (
            "Not for this organisation",
            "Your sign-in worked, but only members of certain organisations are let in here. If you are one, let \
             your organisation approve this application, then sign in again. Otherwise ask your administrator.",
        ),
        _ => (
            "Not for this account",
            "Your sign-in worked, but with another company's account than the one that is let in here. Sign in \
             with the right account, or ask your administrator.",
        ),
    };
    Failure::told(StatusCode::FORBIDDEN, title, text)
}

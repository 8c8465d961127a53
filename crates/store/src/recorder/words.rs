//! What an attempt came to, in one sentence, and what to do about it. [`FAULTS`] is the one place that knows the codes;
//! docs/AGENTS-TROUBLESHOOTING.md repeats it.

use wire::{AgentAttemptState, AgentRemedyKind, AgentStepKind};

/// One way to fail.
#[derive(Debug)]
pub struct Fault {
    /// The step at which it happens, or the first of them.
    pub at: AgentStepKind,
    /// Its code.
    pub code: &'static str,
    /// What failed.
    pub what: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// What a setting can mend, the narrowest first.
    pub remedies: &'static [AgentRemedyKind],
}

const fn fault(
    (at, code): (AgentStepKind, &'static str),
    what: &'static str,
    fix: &'static str,
    remedies: &'static [AgentRemedyKind],
) -> Fault {
    Fault {
        at,
        code,
        what,
        fix,
        remedies,
    }
}

use AgentRemedyKind as Remedy;
use AgentStepKind::{Authorize, Call, Challenge, Consent, Document, Registration, SignIn, Token};

const WAIT: &str = "Wait a minute and try again.";
const ANEW: &str = "Have the agent sign in again.";
const ASK: &str =
    "Change the app's policies if this person should get in with this agent; the audit log names the rule.";
const AGENT: &str = "This is a fault of the agent: report it to whoever makes it, with the steps below.";
const FORGET: &str = "Remove the server from the agent and add it again, so that it registers anew.";
const SCOPES: &str = "Configure the agent to ask for scopes that the app has, or add the scope to the app.";

/// Every code that a step can fail with. One that is not here is told by its step alone.
pub const FAULTS: &[Fault] = &[
    fault(
        (Challenge, "managed_oauth_off"),
        "Managed OAuth is off for this app, so the agent was told no way in",
        "Switch Managed OAuth on for this app.",
        &[Remedy::SwitchOnManagedOauth],
    ),
    fault(
        (Challenge, "disabled"),
        "The app, or its account, is switched off",
        "Switch it on again.",
        &[],
    ),
    fault(
        (Challenge, "token_of_other_app"),
        "The agent showed a token that was issued for another app",
        "Have the agent sign in at this app: a token is good at the one app that it was issued for.",
        &[],
    ),
    fault(
        (Challenge, "token_not_ours"),
        "The agent showed something that is no token of this server",
        "Remove what was entered by hand as its token or header, and have the agent sign in.",
        &[],
    ),
    fault(
        (Challenge, "origin_not_allowed"),
        "A page of an origin that the app does not allow called it",
        "Allow the origin, if the agent runs in that page.",
        &[Remedy::AllowOrigin],
    ),
    fault(
        (Registration, "registration_off"),
        "The agent tried to register itself, and dynamic registration is off at this app",
        "Switch dynamic registration on, or enter the agent as a client and configure its client id.",
        &[Remedy::SwitchOnRegistration],
    ),
    fault(
        (Registration, "invalid_redirect_uri"),
        "The agent tried to register with a redirect URI that the app does not allow",
        "Allow the redirect URI, if the agent is one that you know.",
        &[Remedy::AllowRedirect],
    ),
    fault(
        (Registration, "invalid_client_metadata"),
        "What the agent said of itself at registration cannot be used",
        AGENT,
        &[],
    ),
    fault(
        (Registration, "registration_tier"),
        "Agents that register themselves in this way earn too little trust for this app",
        "Accept the tier at this app, or enter the agent as a client.",
        &[Remedy::AcceptTier],
    ),
    fault(
        (Registration, "rate_limited"),
        "Too many requests came from the agent's network",
        WAIT,
        &[],
    ),
    fault(
        (Document, "documents_off"),
        "The agent named a metadata document, and metadata documents are off at this app",
        "Switch metadata documents on.",
        &[Remedy::SwitchOnDocuments],
    ),
    fault(
        (Document, "document_unreadable"),
        "The agent's metadata document could not be fetched or read",
        "See whether this server can reach the document; without a way out to the internet, pin the document.",
        &[Remedy::PinDocument],
    ),
    fault(
        (Document, "document_refused"),
        "The agent's metadata document says something that this app does not accept",
        "Allow what it asks for, if the agent is one that you know.",
        &[Remedy::AllowRedirect],
    ),
    fault(
        (Authorize, "client_unknown"),
        "The agent named a client id that this app does not know",
        FORGET,
        &[],
    ),
    fault(
        (Authorize, "redirect_not_registered"),
        "The agent asked to return to an address that it did not register",
        "Remove the server from the agent and add it again, so that it registers the address that it uses now.",
        &[],
    ),
    fault(
        (Authorize, "redirect_not_allowed"),
        "The agent asked to return to an address that the app does not allow (any more)",
        "Allow the redirect URI, if the agent is one that you know.",
        &[Remedy::AllowRedirect],
    ),
    fault(
        (Authorize, "pkce_missing"),
        "The agent sent no PKCE challenge, which is required",
        AGENT,
        &[],
    ),
    fault(
        (Authorize, "pkce_plain"),
        "The agent sent a PKCE challenge that is not of the method S256",
        AGENT,
        &[],
    ),
    fault(
        (Authorize, "invalid_request"),
        "The agent made a request that cannot be used",
        AGENT,
        &[],
    ),
    fault(
        (Authorize, "unsupported_response_type"),
        "The agent asked for another response type than `code`",
        AGENT,
        &[],
    ),
    fault(
        (Authorize, "invalid_target"),
        "The agent asked for a resource that is not this app",
        "Enter the app's address in the agent exactly as the app's page shows it.",
        &[],
    ),
    fault(
        (Authorize, "invalid_scope"),
        "The agent asked for a scope that the app does not have",
        SCOPES,
        &[],
    ),
    fault(
        (Authorize, "interaction_required"),
        "The agent asked to go on without a person, and consent is never given without one",
        AGENT,
        &[],
    ),
    fault(
        (Authorize, "client_waiting"),
        "The agent waits until an administrator approves it",
        "Approve the agent, and have the person try again.",
        &[Remedy::ApproveClient],
    ),
    fault(
        (Authorize, "client_blocked"),
        "An administrator has blocked the agent",
        "Unblock it on the Agents page, if it should be used again.",
        &[],
    ),
    fault(
        (Authorize, "tier_too_low"),
        "The agent earns too little trust for this app",
        "Approve this agent, or accept the tier at this app.",
        &[Remedy::ApproveClient, Remedy::AcceptTier],
    ),
    fault(
        (SignIn, "sign_in_failed"),
        "The person could not sign in",
        "The audit log says why; try the connection on its page.",
        &[],
    ),
    fault(
        (SignIn, "policy_denied"),
        "A rule of the app refuses this person with this agent",
        ASK,
        &[],
    ),
    fault(
        (SignIn, "no_policy_matched"),
        "No rule of the app lets this person in with this agent",
        ASK,
        &[],
    ),
    fault(
        (SignIn, "organisation_floor"),
        "A rule of the organisation refuses this person with this agent",
        "Only the organisation's administrators change its rules; the audit log names the one.",
        &[],
    ),
    fault(
        (SignIn, "connection_not_bound"),
        "The way in which the person signed in does not count at this app",
        "Have the person sign in through a connection that is bound to the app's account.",
        &[],
    ),
    fault(
        (SignIn, "user_disabled"),
        "The person's access was switched off",
        "Switch it on again on their page, if they should get in.",
        &[],
    ),
    fault(
        (Consent, "person_denied"),
        "The person said no to the agent",
        "Nothing is wrong: they can start again and allow it.",
        &[],
    ),
    fault(
        (Consent, "form_refused"),
        "The answer of the consent page was not valid (any more)",
        "Have the person start again from the agent, and answer the page in the browser that showed it.",
        &[],
    ),
    fault(
        (Token, "client_unauthenticated"),
        "The agent did not prove to be the client that it named: its secret is missing or wrong",
        "Enter the client's secret in the agent again; one that registered itself registers anew after it was removed and added.",
        &[],
    ),
    fault(
        (Token, "unknown_code"),
        "The agent sent a code that this server did not issue, or that is long over",
        ANEW,
        &[],
    ),
    fault(
        (Token, "code_expired"),
        "The agent redeemed its code too late: a code is good for 60 seconds",
        "Have the agent sign in again; if it happens again, look at the clock and the network of the agent's computer.",
        &[],
    ),
    fault(
        (Token, "code_replayed"),
        "The agent's code was used twice, so what it yielded was revoked",
        "Have the agent sign in again; if it did not send the code twice itself, somebody else has seen it.",
        &[],
    ),
    fault(
        (Token, "verifier_mismatch"),
        "The PKCE verifier is not the one of the challenge",
        "Have the agent sign in again, in one go; if it fails again, report it to whoever makes the agent.",
        &[],
    ),
    fault(
        (Token, "redirect_mismatch"),
        "The agent named another redirect URI at the token endpoint than at the authorization endpoint",
        AGENT,
        &[],
    ),
    fault(
        (Token, "other_resource"),
        "The code was issued for another address of the app than it has now",
        ANEW,
        &[],
    ),
    fault(
        (Token, "other_client"),
        "The code or token belongs to another client",
        FORGET,
        &[],
    ),
    fault(
        (Token, "other_app"),
        "The code or token belongs to another app",
        "Have the agent sign in at this app.",
        &[],
    ),
    fault(
        (Token, "refresh_late"),
        "A refresh token was used again a little after its successor, so the grant was revoked: there may be two copies of one agent",
        "Have the agent sign in again, and let no two copies share its files; the app can give them more time (`rotation_seconds`).",
        &[],
    ),
    fault(
        (Token, "refresh_replayed"),
        "A refresh token was used again after its successor, so the grant was revoked",
        "Have the agent sign in again; two copies of one agent that share their files do this to each other.",
        &[],
    ),
    fault(
        (Token, "refresh_ahead"),
        "A refresh token is newer than this server knows, so the grant was revoked",
        "Have the agent sign in again; the database went back in time.",
        &[],
    ),
    fault(
        (Token, "unknown_token"),
        "The agent sent a refresh token that this server did not issue, or whose grant is long over",
        ANEW,
        &[],
    ),
    fault(
        (Token, "grant_revoked"),
        "The agent's grant was revoked",
        ANEW,
        &[],
    ),
    fault(
        (Token, "grant_expired"),
        "The agent's grant has expired",
        ANEW,
        &[],
    ),
    fault(
        (Token, "unsupported_grant_type"),
        "The agent asked for a grant type that this server does not have",
        AGENT,
        &[],
    ),
    fault(
        (Call, "insufficient_scope"),
        "The agent is in, but its token does not cover what it called first",
        "Have the agent ask for the scopes that the step names, and the person consent again.",
        &[],
    ),
    fault(
        (Call, "origin_unreachable"),
        "The agent was let through, and the app itself did not answer",
        "See whether the app runs and its origin URL is right.",
        &[],
    ),
];

/// The way to fail with this code.
#[must_use]
pub fn fault_of(code: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.code == code)
}

/// One sentence, and what to do.
pub(crate) fn tell(
    (state, step): (AgentAttemptState, AgentStepKind),
    reason: Option<&str>,
    received: Option<&str>,
) -> (String, Option<String>) {
    let (what, fix) = match state {
        AgentAttemptState::In => ("The agent is in", None),
        AgentAttemptState::GoingOn => (so_far(step), None),
        AgentAttemptState::Stopped => {
            let (what, fix) = stopped(step);
            (what, Some(fix))
        }
        AgentAttemptState::Failed => match reason.and_then(fault_of) {
            Some(fault) => (fault.what, Some(fault.fix)),
            None => (
                refused_at(step),
                Some("The audit log has the same request with its reason."),
            ),
        },
    };
    let summary = match received.filter(|_| state == AgentAttemptState::Failed) {
        Some(received) => format!("{what}: {}.", received.trim_end_matches('.')),
        None => format!("{what}."),
    };
    (summary, fix.map(ToOwned::to_owned))
}

const fn so_far(step: AgentStepKind) -> &'static str {
    match step {
        Challenge => "The agent was told the way in",
        AgentStepKind::Discovery => "The agent is reading the discovery documents",
        Registration => "The agent has registered itself",
        Document | Authorize => "The person is signing in",
        SignIn => "The person is being asked whether the agent may act for them",
        Consent => "The person said yes, and the agent has not asked for its token yet",
        Token => "The agent has its token, and has not called the app yet",
        Call => "The agent is in",
    }
}

const fn stopped(step: AgentStepKind) -> (&'static str, &'static str) {
    match step {
        Challenge => (
            "The agent stopped after it was told the way in: it read no discovery document",
            "See whether the agent can sign in by OAuth at all, and start its sign-in by hand.",
        ),
        AgentStepKind::Discovery => (
            "The agent stopped after it had read the discovery documents: it neither registered nor opened a browser",
            "Start its sign-in by hand. If it needs a client id, enter it as a client and configure the id.",
        ),
        Registration => (
            "The agent stopped after it had registered: no browser came to the sign-in page",
            "See whether the agent could open a browser, and whether that reaches this server.",
        ),
        Document | Authorize => (
            "The person was sent to sign in and did not come back",
            "Start again and finish the sign-in; the audit log says whether one failed.",
        ),
        SignIn => (
            "The person was asked whether the agent may act for them, and did not answer",
            "Start again, and answer the page.",
        ),
        Consent => (
            "The person said yes, but the agent never asked for its token: its callback did not reach it",
            "See whether the agent still waits, and whether the browser runs on the computer where the agent listens.",
        ),
        Token => (
            "The agent got its token and never called the app with it",
            "Start the agent again; if it stops there again, report it to whoever makes it.",
        ),
        Call => ("The agent is in", ""),
    }
}

const fn refused_at(step: AgentStepKind) -> &'static str {
    match step {
        Challenge => "The agent's first request was refused",
        AgentStepKind::Discovery => "A discovery document was refused",
        Registration => "The agent's registration was refused",
        Document => "The agent's metadata document was refused",
        Authorize => "The agent's authorization request was refused",
        SignIn => "The person was refused",
        Consent => "The consent was refused",
        Token => "The agent's token request was refused",
        Call => "The agent's first call was refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_is_said_once_and_in_one_sentence() {
        let codes: HashSet<_> = FAULTS.iter().map(|fault| fault.code).collect();
        assert_eq!(codes.len(), FAULTS.len());
        for fault in FAULTS {
            assert!(
                !fault.what.ends_with('.') && fault.fix.ends_with('.'),
                "{}",
                fault.code
            );
        }
    }

    #[test]
    fn the_documentation_has_every_code() {
        let text = include_str!("../../../../docs/AGENTS-TROUBLESHOOTING.md");
        for fault in FAULTS {
            let row = format!("| `{}` | {}. | {} |", fault.code, fault.what, fault.fix);
            assert!(text.contains(&row), "docs/AGENTS-TROUBLESHOOTING.md lacks\n{row}");
        }
    }
}

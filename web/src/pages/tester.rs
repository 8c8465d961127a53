//! The tester: what would happen to one person, or to everyone, now or with an unsaved policy. Asks the engine
//! that enforces.

use crate::{
    catalogue::others,
    choice::{Choice, Thing, lacking},
    client::{client, query},
    me::directory,
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use std::collections::BTreeMap;
use wire::{
    Authentication, Client, Decision, Page as ListPage, PeopleTested, PolicySpec, PolicyTest,
    PolicyTestResult, Reason, RuleWarning,
};

/// Stands for all people in the choice of the person.
const EVERYONE: &str = "everyone";

/// Tries one request. With `draft`, as if the app had that policy alone.
#[component]
pub(crate) fn Tester(
    #[prop(optional, into)] app: String,
    #[prop(optional)] draft: Option<Callback<(), Result<PolicySpec, String>>>,
) -> impl IntoView {
    let client = client();
    let names = directory();
    let app = RwSignal::new(app);
    let user = RwSignal::new(String::new());
    let agent = RwSignal::new(String::new());
    let method = RwSignal::new(String::new());
    let path = RwSignal::new(String::new());
    let tool = RwSignal::new(String::new());
    let ip = RwSignal::new(String::new());
    let methods = RwSignal::new(String::new());
    let result = RwSignal::new(None::<PolicyTestResult>);
    let sending = Sending::new();
    Effect::new(move |_| {
        let known = names
            .users
            .ready()
            .and_then(|users| users.first().map(|first| first.id.to_string()));
        if user.get_untracked().is_empty()
            && let Some(known) = known
        {
            user.set(known);
        }
    });
    let clients = Remote::new(move || {
        let path = format!(
            "/clients{}",
            query([("app", app.get()), ("limit", "200".to_owned())])
        );
        async move { client.get::<ListPage<Client>>(&path).await }
    });
    let agents = Signal::derive(move || {
        let none = (String::new(), "None: a person in a browser".to_owned());
        let rest = clients.ready().map(|page| page.items).unwrap_or_default();
        std::iter::once(none)
            .chain(rest.into_iter().map(|c| (c.id.to_string(), c.name)))
            .collect::<Vec<_>>()
    });
    let users = names.user_options(None);
    let people = Signal::derive(move || {
        let all = (EVERYONE.to_owned(), "Everyone".to_owned());
        std::iter::once(all).chain(users.get()).collect::<Vec<_>>()
    });
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let text = |signal: RwSignal<String>| {
            Some(signal.get_untracked().trim().to_owned()).filter(|text| !text.is_empty())
        };
        let everyone = user.get_untracked() == EVERYONE;
        let user = user.get_untracked().parse().ok();
        let (Ok(app), true) = (app.get_untracked().parse(), everyone || user.is_some()) else {
            return sending.refuse("/user", "choose an app and a person");
        };
        let draft = match draft.map(|draft| draft.run(())) {
            Some(Err(missing)) => return sending.refuse("/draft", missing),
            Some(Ok(spec)) => Some(vec![spec]),
            None => None,
        };
        let client_id = agent.get_untracked().parse().ok();
        let stated = text(methods).map(|methods| Authentication {
            amr: methods.split_whitespace().map(ToOwned::to_owned).collect(),
            ..Authentication::default()
        });
        let body = PolicyTest {
            app,
            user,
            client: client_id,
            method: text(method),
            path: text(path),
            tool: text(tool),
            draft,
            everyone,
            service_token: None,
            authentication: stated,
            scopes: None,
            ip: text(ip),
            at: None,
            policies: BTreeMap::new(),
            groups: BTreeMap::new(),
            floor: None,
            cursor: None,
        };
        sending.run(
            async move { client.post::<PolicyTestResult>("/policies/test", &body).await },
            move |answer| result.set(Some(answer)),
        );
    };
    let (title, hint) = if draft.is_some() {
        (
            "Test before saving",
            "As if the app had this policy alone, with the organisation's rules on top.",
        )
    } else {
        (
            "Test one person, or everyone",
            "The same engine that enforces says what would happen, and which rule decides.",
        )
    };
    view! {
        <Panel title hint=hint>
            <form class="flex flex-col gap-4" on:submit=send>
                <div class="grid gap-4 sm:grid-cols-2 lg:grid-cols-3">
                    <Choice of=Thing::App label="App" value=app error=sending.at("/app") />
                    <Select label="Person" value=user options=people error=sending.at("/user") />
                {others(names.users, "people")}
                    <Select label="Agent" value=agent options=agents error=sending.at("/client") />
                    <TextField label="Method" value=method placeholder="GET" error=sending.at("/method") />
                    <TextField label="Path" value=path placeholder="/" error=sending.at("/path") />
                    <TextField label="MCP tool" value=tool placeholder="create_ticket" error=sending.at("/tool") />
                    <TextField label="Address" value=ip placeholder="not known" error=sending.at("/ip") />
                    <TextField label="Signed in by" value=methods placeholder="as in the newest session" hint="Methods of RFC 8176, such as pwd otp" error=sending.at("/authentication") />
                </div>
                <FormError sending />
                <div><Submit busy=sending.busy blocked=lacking(Thing::App)>"Test"</Submit></div>
            </form>
            <div aria-live="polite">{move || result.get().map(|answer| outcome(&answer))}</div>
        </Panel>
    }
}

fn outcome(answer: &PolicyTestResult) -> AnyView {
    view! {
        <div class="mt-4 flex flex-col gap-3 border-t border-base-300 pt-4">
            {answer.decision.as_ref().map(verdict)}
            {answer.people.as_ref().map(shares)}
            <ol class="flex flex-col gap-2 empty:hidden">
                {answer
                    .trace
                    .iter()
                    .map(|step| {
                        let mark = if step.matched { badge(Tone::Good, "Matched") } else { badge(Tone::Neutral, "No match") };
                        view! {
                            <li class="grid gap-x-4 sm:grid-cols-[12rem_7rem_1fr]">
                                <span class="font-semibold">{step.policy.name.clone()}</span>
                                {mark}
                                <span class="muted">{step.because.clone()}</span>
                            </li>
                        }
                    })
                    .collect_view()}
            </ol>
            {warnings(&answer.warnings)}
        </div>
    }
    .into_any()
}

fn verdict(decision: &Decision) -> AnyView {
    let mark = if decision.allowed {
        badge(Tone::Good, "Allowed")
    } else {
        badge(Tone::Bad, "Denied")
    };
    let rule = decision
        .rule
        .as_ref()
        .map(|rule| format!(" by “{}”", rule.name))
        .unwrap_or_default();
    view! { <p class="flex flex-wrap items-center gap-2">{mark} <span>{format!("{}{rule}.", in_words(decision.reason))}</span></p> }
        .into_any()
}

/// How many would get in, and who would not, by what decides.
fn shares(people: &PeopleTested) -> AnyView {
    let more = people
        .next
        .is_some()
        .then_some("Only the first 20,000 people are counted.");
    view! {
        <p class="font-semibold">{format!("{} allowed, {} refused", people.allowed, people.refused)}</p>
        <p class="muted empty:hidden">{more}</p>
        <ul class="flex flex-col gap-3">
            {people
                .outcomes
                .iter()
                .map(|outcome| {
                    let names: Vec<_> = outcome
                        .people
                        .iter()
                        .map(|p| p.email.clone().or(p.name.clone()).unwrap_or_else(|| p.id.to_string()))
                        .collect();
                    let rest = outcome.count.saturating_sub(names.len() as u64);
                    let rest = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                    view! {
                        <li class="flex flex-col gap-1">
                            {verdict(&outcome.decision)}
                            <span class="muted">{format!("{}: {}{rest}", outcome.count, names.join(", "))}</span>
                        </li>
                    }
                })
                .collect_view()}
        </ul>
    }
    .into_any()
}

/// Rules that do not do what somebody may have meant.
fn warnings(all: &[RuleWarning]) -> Option<AnyView> {
    if all.is_empty() {
        return None;
    }
    let lines = all
        .iter()
        .map(|warning| {
            view! {
                <li>
                    <span class="font-semibold">{warning.policy.name.clone()}</span>
                    ": "
                    {warning.detail.clone()}
                </li>
            }
        })
        .collect_view();
    Some(
        view! {
            <section aria-label="Warnings about the rules" class="flex flex-col gap-1">
                <p>{badge(Tone::Careful, "Look at these rules")}</p>
                <ul class="flex flex-col gap-1">{lines}</ul>
            </section>
        }
        .into_any(),
    )
}

/// A reason code in words.
pub(crate) const fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::PolicyAllowed => "A policy of the app allows it",
        Reason::PolicyDenied => "A policy of the app denies it",
        Reason::NoPolicyMatched => "No policy matches",
        Reason::OrganisationFloor => "A rule of the organisation is not met",
        Reason::ServiceAuthenticated => "A service token is let through",
        Reason::Bypassed => "It is let through without sign-in",
        Reason::ConnectionNotBound => "The person's connection is not bound to the account",
        Reason::UserDisabled => "The person is disabled",
        Reason::Disabled => "The account, app or connection is disabled",
        Reason::ClientNotAccepted => "The agent's trust is too low, or it waits for approval",
        Reason::InsufficientScope => "The token has no scope that covers the request",
        Reason::Unauthenticated => "Nobody is signed in",
        Reason::CredentialInvalid => "The token or session is not valid any more",
        Reason::ManagedOauthOff => "Managed OAuth is off at this app",
        Reason::ProofTooOld => "The identity provider has not vouched for the person for too long",
        Reason::SecondFactorMissing => "The organisation asks for a second factor, and there was none",
        Reason::AmbiguousPath => "The path can be read in more than one way",
    }
}

//! Agents' attempts to get in: which got stuck, at which step and why, and the button that mends it.

use crate::{
    catalogue::others,
    client::{Write, client, query},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use wire::{
    AccountId, AgentAttempt, AgentAttemptDetail, AgentAttemptState, AgentRemedy, AgentStep, AgentStepKind,
    AgentStepOutcome, CarryOutRemedy, Page as ListPage,
};

/// The tab of the agents' page. `?app=&reached=&request=&client=`
#[component]
pub(crate) fn Attempts() -> impl IntoView {
    let client = client();
    let names = directory();
    let (app, _) = url_param("app");
    let (reached, _) = url_param("reached");
    let (request, _) = url_param("request");
    let (of, _) = url_param("client");
    let (cursor, _) = url_param("cursor");
    let attempts = Remote::new(move || {
        let path = format!(
            "/agent-attempts{}",
            query([
                ("app", app.get()),
                ("state", reached.get()),
                ("request", request.get().trim().to_owned()),
                ("client", of.get()),
                ("cursor", cursor.get())
            ])
        );
        async move { client.get::<ListPage<AgentAttempt>>(&path).await }
    });
    let states = [
        ("", "Any"),
        ("failed", "Failed"),
        ("stopped", "Stopped"),
        ("going_on", "Going on"),
        ("in", "In"),
    ]
    .map(|(key, text)| (key.to_owned(), text.to_owned()));
    view! {
        <p class="muted mb-4 max-w-prose">"Each attempt of an agent to get in, from the first refusal to the first call. Somebody who stands before an error page can read you its request id."</p>
        <div class="mb-4 flex flex-wrap gap-3">
            <FilterSelect label="App" param="app" options=names.app_options("All apps") />
            {others(names.apps, "apps")}
            <FilterSelect label="Where it is" param="reached" options=Signal::stored(states.to_vec()) />
            <FilterText label="Request id" param="request" />
        </div>
        {attempts
            .show(move |page| {
                if page.items.is_empty() {
                    return view! {
                        <Empty text="No attempt here. One appears as soon as an agent calls an app." />
                    }
                        .into_any();
                }
                view! {
                    {list(page.items)}
                    <Pager next=page.next />
                }
                    .into_any()
            })}
    }
}

fn list(attempts: Vec<AgentAttempt>) -> AnyView {
    let names = directory();
    let columns = vec![
        column("Agent", |a: &AgentAttempt| {
            view! {
                <a class="name-link inline-block py-1" href=format!("/agents/attempts/{}", a.id)>{agent(a)}</a>
                <span class="muted block max-w-prose text-[0.8125rem] break-words whitespace-normal">{a.summary.clone()}</span>
            }
            .into_any()
        }),
        column("Where it is", |a: &AgentAttempt| state(a.state)),
        column("App", move |a: &AgentAttempt| {
            let app = a.app.clone();
            (move || names.app(&app)).into_any()
        }),
        column("Person", move |a: &AgentAttempt| match a.user.clone() {
            Some(user) => (move || names.user(&user)).into_any(),
            None => dash(),
        }),
        column("When", |a: &AgentAttempt| since(a.last_at)),
    ];
    table("Attempts of agents", columns, attempts)
}

/// What it calls itself, or what is known instead.
fn agent(attempt: &AgentAttempt) -> String {
    let named = [&attempt.client_name, &attempt.software, &attempt.client_id];
    named
        .into_iter()
        .flatten()
        .next()
        .map_or_else(|| "An agent without a name".to_owned(), Clone::clone)
}

fn state(state: AgentAttemptState) -> AnyView {
    match state {
        AgentAttemptState::GoingOn => badge(Tone::Neutral, "Going on"),
        AgentAttemptState::In => badge(Tone::Good, "In"),
        AgentAttemptState::Failed => badge(Tone::Bad, "Failed"),
        AgentAttemptState::Stopped => badge(Tone::Careful, "Stopped"),
    }
}

const fn kind(kind: AgentStepKind) -> &'static str {
    match kind {
        AgentStepKind::Challenge => "Called the app without a token",
        AgentStepKind::Discovery => "Read a discovery document",
        AgentStepKind::Registration => "Registration",
        AgentStepKind::Document => "Metadata document",
        AgentStepKind::Authorize => "Browser came to sign in",
        AgentStepKind::SignIn => "Sign-in",
        AgentStepKind::Consent => "Consent",
        AgentStepKind::Token => "Token",
        AgentStepKind::Call => "Called the app with its token",
    }
}

/// `/agents/attempts/{id}`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let params = use_params_map();
    let remote = Remote::new(move || {
        let id = params.with(|params| params.get("id").unwrap_or_default());
        async move {
            client
                .get::<AgentAttemptDetail>(&format!("/agent-attempts/{id}"))
                .await
        }
    });
    let title = Signal::derive(move || {
        let named = remote.with(|detail| format!("Attempt of {}", agent(&detail.attempt)));
        named.unwrap_or_else(|| "Attempt".to_owned())
    });
    view! {
        <PageHead title parent=("/agents?tab=attempts", "Attempts") />
        {remote.show(move |detail| body(remote, detail))}
    }
}

fn body(remote: Remote<AgentAttemptDetail>, detail: AgentAttemptDetail) -> AnyView {
    let names = directory();
    let AgentAttemptDetail {
        attempt,
        steps,
        remedies,
    } = detail;
    let (app, app_link) = (attempt.app.clone(), format!("/apps/{}", attempt.app));
    let person = attempt.user.clone().map_or_else(dash, |user| {
        let link = format!("/people/{user}");
        view! { <a class="link" href=link>{move || names.user(&user)}</a> }.into_any()
    });
    let client = match (&attempt.client, &attempt.client_id) {
        (Some(client), Some(sent)) => {
            view! { <a class="link key break-all" href=format!("/agents/{client}")>{sent.clone()}</a> }
                .into_any()
        }
        (_, Some(sent)) => view! { <span class="key break-all">{sent.clone()}</span> }.into_any(),
        _ => dash(),
    };
    let rows = vec![
        ("Where it is", state(attempt.state)),
        (
            "App",
            view! { <a class="link" href=app_link>{move || names.app(&app)}</a> }.into_any(),
        ),
        (
            "Calls itself",
            attempt.client_name.clone().map_or_else(dash, IntoAny::into_any),
        ),
        (
            "Software",
            attempt.software.clone().map_or_else(dash, IntoAny::into_any),
        ),
        ("Client id", client),
        ("Person", person),
        ("Began", moment(attempt.started_at)),
        ("Last step", moment(attempt.last_at)),
    ];
    let id = StoredValue::new(attempt.id.to_string());
    let account = attempt.account.clone();
    let buttons = remedies
        .into_iter()
        .map(|remedy| view! { <Remedy remedy id account=account.clone() remote /> })
        .collect_view();
    let timeline = steps.into_iter().map(step).collect_view();
    view! {
        <div class="flex flex-col gap-6">
            <section class="panel flex flex-col gap-3 p-4" aria-label="What it came to">
                <p class="text-base font-semibold break-words">{attempt.summary}</p>
                {attempt.fix.map(|fix| view! { <p class="max-w-prose">{fix}</p> })}
                {attempt.ambiguous.then(|| view! { <p class="text-warning max-w-prose">"Several agents that looked the same were on their way from one address at once: steps may be missing here, or be another one's."</p> })}
                <div class="flex flex-wrap gap-2 empty:hidden *:h-auto *:max-w-full *:py-1.5 *:text-left *:break-words *:whitespace-normal">{buttons}</div>
            </section>
            <Panel title="Steps"><ol class="flex flex-col gap-4">{timeline}</ol></Panel>
            <div class="panel p-4">{facts(rows)}</div>
        </div>
    }
    .into_any()
}

/// One click: the change is the one of the app or client that it names.
#[component]
fn Remedy(
    remedy: AgentRemedy,
    id: StoredValue<String>,
    account: AccountId,
    remote: Remote<AgentAttemptDetail>,
) -> impl IntoView {
    let (acts, toasts) = (acts(), toasts());
    let sending = Sending::new();
    let blocked = me().gate(Need::Edit(account));
    let label = remedy.label.clone();
    let patch = remedy.patch.to_string();
    let press = move |()| {
        let path = format!("/agent-attempts/{}/remedy", id.get_value());
        let body = CarryOutRemedy {
            kind: remedy.kind,
            label: Some(remedy.label.clone()),
        };
        let write = Write::post(&path, &body).of_version(version(&remedy.etag));
        acts.make(sending, write, move |done: AgentRemedy| {
            toasts.done(format!("{}: done. Have the agent try again", done.label));
            remote.reload();
        });
    };
    view! {
        <Button look=Look::Primary blocked busy=sending.busy label=format!("{label}, changes {patch}") on_press=press>{label.clone()}</Button>
    }
}

/// The version behind an `ETag`.
fn version(etag: &str) -> Option<i64> {
    etag.trim_matches('"').strip_prefix('v')?.parse().ok()
}

fn step(step: AgentStep) -> AnyView {
    let failed = step.outcome == AgentStepOutcome::Failed;
    let mark = if failed {
        badge(Tone::Bad, "Failed")
    } else {
        badge(Tone::Good, "Passed")
    };
    let times = (step.count > 1).then(|| format!("{} times in a row", step.count));
    let said = [("Expected", step.expected), ("Received", step.received)];
    let said = said.into_iter().filter_map(|(name, text)| {
        text.filter(|text| !text.is_empty()).map(
            |text| view! { <p class="min-w-0 break-words"><span class="muted">{name} ": "</span>{text}</p> },
        )
    });
    let from = [step.ip, step.user_agent]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" · ");
    let link = format!("/audit?request={}", crate::client::encode(&step.request));
    view! {
        <li class="flex min-w-0 flex-col gap-1 border-l-2 border-base-300 pl-3">
            <p class="flex flex-wrap items-baseline gap-x-3 gap-y-1">
                {mark}
                <span class="font-medium">{kind(step.kind)}</span>
                {step.reason.map(|reason| view! { <code class="key break-all">{reason}</code> })}
                {times.map(|times| view! { <span class="muted">{times}</span> })}
                <span class="muted">{moment(step.at)}</span>
            </p>
            {said.collect_view()}
            <p class="muted min-w-0 text-[0.8125rem] break-words">
                {from} " · request " <a class="link key break-all" href=link>{step.request}</a>
            </p>
        </li>
    }
    .into_any()
}

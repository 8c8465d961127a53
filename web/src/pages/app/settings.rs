//! Names, addresses, sessions of an app; disabling and deleting it.

use super::Subject;
use crate::{
    client::Write,
    pages::{connections::words, settings::PROOF},
    ui::*,
};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde_json::json;
use wire::{App, AppKind};

/// How long a browser session may last.
const SESSION: Span = Span::hours(60..=2_592_000);

/// How long the origin may be waited for.
const PATIENCE: Span = Span::seconds(1..=86_400);

#[component]
pub(super) fn Settings(subject: Subject) -> impl IntoView {
    let spec = subject.app.get_untracked().spec;
    let name = RwSignal::new(spec.name);
    let public_url = RwSignal::new(spec.public_url);
    let origin_url = RwSignal::new(spec.origin_url);
    let hours = RwSignal::new(SESSION.text(spec.session_seconds));
    let headers = RwSignal::new(spec.identity_headers);
    let is_web = spec.kind == AppKind::Web;
    let methods = RwSignal::new(spec.extra_methods.join(" "));
    let ignores_case = RwSignal::new(spec.case_insensitive_paths);
    let pages = RwSignal::new(spec.browser_origins.join("\n"));
    let limits = spec.origin_limits;
    let [answer, idle, events] = [limits.answer_seconds, limits.idle_seconds, limits.event_seconds]
        .map(|seconds| RwSignal::new(PATIENCE.text(seconds)));
    let days = |seconds: Option<u32>| seconds.map_or(String::new(), |seconds| PROOF.text(seconds));
    let oldest = spec.oldest_proof.unwrap_or_default();
    let agents = RwSignal::new(days(oldest.agents_seconds));
    let sessions = RwSignal::new(days(oldest.sessions_seconds));
    let sending = Sending::new();
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let seconds = match SESSION.read(&hours.get_untracked()) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/session_seconds", why),
        };
        let agents = match limit(agents) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/oldest_proof/agents_seconds", why),
        };
        let sessions = match limit(sessions) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/oldest_proof/sessions_seconds", why),
        };
        let mut patience = serde_json::Map::new();
        for (name, typed) in [
            ("answer_seconds", answer),
            ("idle_seconds", idle),
            ("event_seconds", events),
        ] {
            match PATIENCE.read(&typed.get_untracked()) {
                Ok(seconds) => patience.insert(name.to_owned(), seconds.into()),
                Err(why) => return sending.refuse(&format!("/origin_limits/{name}"), why),
            };
        }
        let patch = json!({
            "origin_limits": patience,
            "name": name.get_untracked().trim(),
            "public_url": public_url.get_untracked().trim(),
            "origin_url": origin_url.get_untracked().trim(),
            "session_seconds": seconds,
            "identity_headers": headers.get_untracked(),
            "oldest_proof": { "agents_seconds": agents, "sessions_seconds": sessions },
            "extra_methods": words(&methods.get_untracked()),
            "case_insensitive_paths": ignores_case.get_untracked(),
            "browser_origins": words(&pages.get_untracked()),
        });
        subject.save(sending, &patch, "saved");
    };
    view! {
        <div class="flex flex-col gap-6">
            <form on:submit=save>
                <Panel title="Settings">
                    <div class="flex max-w-xl flex-col gap-4">
                        <TextField label="Name" value=name required=true error=sending.at("/name") />
                        <TextField label="Public URL" value=public_url required=true hint="Tokens are made for this address: agents sign in again after a change." error=sending.at("/public_url") />
                        <TextField label="Origin URL" value=origin_url required=true error=sending.at("/origin_url") />
                        <TextField label="Browser session, in hours" value=hours error=sending.at("/session_seconds") />
                        <fieldset class="grid gap-4 sm:grid-cols-2">
                            <legend class="font-semibold">"How long the identity provider's word is good here"</legend>
                            <TextField label="For agents, in days" value=agents hint="Empty: as the organisation says. It can only be stricter." error=sending.at("/oldest_proof/agents_seconds") />
                            <TextField label="For browser sessions, in days" value=sessions error=sending.at("/oldest_proof/sessions_seconds") />
                        </fieldset>
                        <fieldset class="grid gap-4 sm:grid-cols-3">
                            <legend class="font-semibold">"How long the origin is waited for"</legend>
                            <TextField label="Its answer, in seconds" value=answer error=sending.at("/origin_limits/answer_seconds") />
                            <TextField label="The next part, in seconds" value=idle error=sending.at("/origin_limits/idle_seconds") />
                            <TextField label="The next event, in seconds" value=events error=sending.at("/origin_limits/event_seconds") />
                        </fieldset>
                        <Checkbox label="Plain identity headers" hint="Adds X-Chatelaine-User, -Email and -Groups for origins that cannot verify the signed assertion" value=headers />
                        {is_web.then(|| view! {
                            <TextField label="Further methods" value=methods hint="Beside those of HTTP and WebDAV, such as REPORT. Empty for none." error=sending.at("/extra_methods") />
                        })}
                        <Checkbox label="The origin ignores case in paths" hint="As on Windows: /Secret is /secret there. Rules and scopes then ignore it, too" value=ignores_case />
                        <TextArea label="Agents in browsers" hint="Origins of pages that may call the app with a token, one on each line, such as http://localhost:6274 for the MCP Inspector. An MCP server refuses all other pages." value=pages error=sending.at("/browser_origins") />
                        <FormError sending />
                        <div><Submit busy=sending.busy blocked=subject.blocked>"Save settings"</Submit></div>
                    </div>
                </Panel>
            </form>
            <Danger subject />
        </div>
    }
}

/// A limit in seconds, none where nothing is typed; else what would be right.
fn limit(days: RwSignal<String>) -> Result<Option<u32>, String> {
    let text = days.get_untracked();
    if text.trim().is_empty() {
        return Ok(None);
    }
    let read = PROOF.read(&text).map(Some);
    read.map_err(|why| format!("{why}, or empty"))
}

#[component]
fn Danger(subject: Subject) -> impl IntoView {
    let navigate = StoredValue::new_local(use_navigate());
    let sending = Sending::new();
    let enabled = Signal::derive(move || subject.app.with(|app| app.spec.enabled));
    let set = move |on: bool| subject.patch(&json!({ "enabled": on }));
    let flip = move |()| {
        if !enabled.get_untracked() {
            return subject.acts.make(sending, set(true), move |app: App| {
                subject.toasts.done(format!("{} is enabled", app.spec.name));
                subject.put(app);
            });
        }
        let act = Act::counted(
            "Disable app",
            subject.name(),
            "It answers nobody until it is enabled again. Grants and policies are kept.",
        )
        .asks(format!("Disable {}?", subject.name()))
        .said("App disabled");
        subject
            .acts
            .ask(act, set(false), move |app: App| subject.put(app));
    };
    let delete = move |()| {
        let act = Act::counted(
            "Delete app",
            subject.name(),
            "Its agents, grants and sessions end at once. The audit log keeps what happened. This cannot be taken back.",
        )
        .asks(format!("Delete {}?", subject.name()))
        .said("App deleted")
        .typed();
        let id = subject.app.with_untracked(|app| app.id.clone());
        subject
            .acts
            .ask(act, Write::delete(&format!("/apps/{id}")), move |()| {
                subject.names.apps.reload();
                navigate.try_with_value(|go| go("/apps", NavigateOptions::default()));
            });
    };
    view! {
        <Panel title="Disable or delete">
            <div class="flex flex-wrap gap-2">
                <Button blocked=subject.blocked busy=sending.busy on_press=flip>
                    {move || if enabled.get() { "Disable app" } else { "Enable app" }}
                </Button>
                <Button look=Look::Danger blocked=subject.blocked on_press=delete>"Delete app"</Button>
            </div>
        </Panel>
    }
}

//! Names, addresses, sessions of an app; disabling and deleting it.

use super::Subject;
use crate::{client::client, me::directory, ui::*};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde_json::json;

#[component]
pub(super) fn Settings(subject: Subject) -> impl IntoView {
    let spec = subject.app.get_untracked().spec;
    let name = RwSignal::new(spec.name);
    let public_url = RwSignal::new(spec.public_url);
    let origin_url = RwSignal::new(spec.origin_url);
    let hours = RwSignal::new(format!("{}", f64::from(spec.session_seconds) / 3_600.0));
    let headers = RwSignal::new(spec.identity_headers);
    let sending = Sending::new();
    let toasts = toasts();
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Ok(hours) = hours.get_untracked().trim().parse::<f64>() else {
            return sending.refuse("/session_seconds", "a number of hours");
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the server checks the range"
        )]
        let seconds = (hours * 3_600.0) as u32;
        let patch = json!({
            "name": name.get_untracked().trim(),
            "public_url": public_url.get_untracked().trim(),
            "origin_url": origin_url.get_untracked().trim(),
            "session_seconds": seconds,
            "identity_headers": headers.get_untracked(),
        });
        subject.patch(sending, patch, move |app| {
            toasts.done(format!("{} saved", app.spec.name))
        });
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
                        <Checkbox label="Plain identity headers" hint="Adds X-Chatelaine-User, -Email and -Groups for origins that cannot verify the signed assertion" value=headers />
                        <FormError sending />
                        <div><Submit busy=sending.busy blocked=subject.blocked>"Save settings"</Submit></div>
                    </div>
                </Panel>
            </form>
            <Danger subject />
        </div>
    }
}

#[component]
fn Danger(subject: Subject) -> impl IntoView {
    let client = client();
    let names = directory();
    let toasts = toasts();
    let navigate = StoredValue::new_local(use_navigate());
    let ask_disable = RwSignal::new(false);
    let ask_delete = RwSignal::new(false);
    let sending = Sending::new();
    let deleting = Sending::new();
    let enabled = Signal::derive(move || subject.app.with(|app| app.spec.enabled));
    let name = Signal::derive(move || subject.app.with(|app| app.spec.name.clone()));
    let flip = move |()| {
        let on = !enabled.get_untracked();
        subject.patch(sending, json!({ "enabled": on }), move |app| {
            ask_disable.set(false);
            toasts.done(format!(
                "{} is {}",
                app.spec.name,
                if on { "enabled" } else { "disabled" }
            ));
        });
    };
    let delete = move |()| {
        let app = subject.app.get_untracked();
        deleting.run(
            async move { client.delete(&format!("/apps/{}", app.id)).await },
            move |()| {
                ask_delete.set(false);
                toasts.done("App deleted");
                names.apps.reload();
                navigate.with_value(|go| go("/apps", NavigateOptions::default()));
            },
        );
    };
    let press = move |()| {
        if enabled.get_untracked() {
            ask_disable.set(true)
        } else {
            flip(())
        }
    };
    view! {
        <Panel title="Disable or delete">
            <div class="flex flex-wrap gap-2">
                <Button blocked=subject.blocked busy=sending.busy on_press=press>
                    {move || if enabled.get() { "Disable app" } else { "Enable app" }}
                </Button>
                <Button look=Look::Danger blocked=subject.blocked on_press=move |()| ask_delete.set(true)>"Delete app"</Button>
            </div>
            <Confirm open=ask_disable title=Signal::derive(move || format!("Disable {}?", name.get()))
                text="It answers nobody until it is enabled again. Grants and policies are kept."
                action="Disable app" sending on_confirm=flip />
            <Confirm open=ask_delete title=Signal::derive(move || format!("Delete {}?", name.get()))
                text="Its agents, grants and sessions end at once. The audit log keeps what happened. This cannot be taken back."
                action="Delete app" word=name sending=deleting on_confirm=delete />
        </Panel>
    }
}

//! What a claim mapping would make of the claims of the last test, before it is saved.

use crate::{
    client::Write,
    me::{Need, me},
    ui::*,
};
use leptos::prelude::*;
use serde_json::Value;
use wire::{ClaimsPreview, ConnectionId};

/// `asked` gives the mapping as the form has it.
#[component]
pub(super) fn MappingPreview(connection: ConnectionId, asked: Callback<(), Value>) -> impl IntoView {
    let path = StoredValue::new(format!("/connections/{connection}/claims-preview"));
    let sending = Sending::new();
    let seen = RwSignal::new(None::<ClaimsPreview>);
    let preview = move |()| {
        seen.set(None);
        let write = Write::post(&path.get_value(), &asked.run(()));
        sending.write(write, move |found: ClaimsPreview| {
            seen.try_set(Some(found));
        });
    };
    view! {
        <div class="flex flex-col gap-3">
            <div class="flex flex-wrap items-center gap-3">
                <Button blocked=me().gate(Need::Organisation) busy=sending.busy on_press=preview>"Preview the mapping"</Button>
                <span class="muted min-w-0 flex-1 text-[0.8125rem]">"Shows what the claims of the last test come to with what stands above. Nothing is saved."</span>
            </div>
            <FormError sending />
            <div aria-live="polite">{move || seen.get().map(shown)}</div>
        </div>
    }
}

fn shown(found: ClaimsPreview) -> AnyView {
    let refused = found.refused.map(|reason| {
        let why = found.refused_because.unwrap_or(reason);
        view! { <p class="break-words">{badge(Tone::Bad, "Refused")} " " {why}</p> }
    });
    let missing = (!found.missing.is_empty()).then(|| {
        view! { <p class="muted">{format!("Not found: {}", found.missing.join(", "))}</p> }
    });
    let who = found.identity;
    let email = match (who.email, who.email_verified) {
        (None, _) => dash(),
        (Some(email), true) => format!("{email} (verified)").into_any(),
        (Some(email), false) => format!("{email} (not verified)").into_any(),
    };
    let claims = serde_json::to_string_pretty(&found.claims).unwrap_or_default();
    view! {
        <div class="flex flex-col gap-3">
            {refused}
            {missing}
            {facts(vec![
                ("Subject", copyable(who.subject, "subject")),
                ("E-mail", email),
                ("Name", who.name.map_or_else(dash, IntoAny::into_any)),
                ("Groups", chips(who.groups)),
            ])}
            <details><summary class="muted w-fit cursor-pointer py-1">"All claims"</summary><CodeBlock text=Signal::stored(claims) label="Claims" /></details>
        </div>
    }
    .into_any()
}

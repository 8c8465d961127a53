//! One agent: what it says of itself, what is proven, the grants that it has.

use super::{
    agents::{ClientActions, client_state, source, trust},
    audit::change_table,
    grants::Grants,
};
use crate::{client::client, me::directory, remote::Remote, ui::*};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use wire::Client;

/// `/agents/{id}`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let params = use_params_map();
    let remote = Remote::new(move || {
        let id = params.with(|params| params.get("id").unwrap_or_default());
        async move { client.get::<Client>(&format!("/clients/{id}")).await }
    });
    let title = Signal::derive(move || remote.with(|c| c.name.clone()).unwrap_or_else(|| "Agent".into()));
    view! {
        <PageHead title parent=("/agents", "Agents") />
        {remote.show(move |subject| body(remote, subject))}
    }
}

fn body(remote: Remote<Client>, subject: Client) -> AnyView {
    let names = directory();
    let app = subject.app.clone();
    let app_link = format!("/apps/{app}");
    let account = subject.account.clone();
    let redirects = subject
        .redirect_uris
        .iter()
        .map(|uri| view! { <li class="key break-all">{uri.clone()}</li> })
        .collect_view();
    let first = subject.first_user.clone().map_or_else(dash, |user| {
        let link = format!("/people/{user}");
        view! { <a class="link" href=link>{move || names.user(&user)}</a> }.into_any()
    });
    let rows = vec![
        ("Trust", trust(subject.tier)),
        ("State", client_state(subject.state)),
        ("Name", view! { <span>{subject.name.clone()} <span class="muted">" (what it calls itself; proves nothing)"</span></span> }.into_any()),
        ("Described by", described(&subject)),
        ("Receives codes", received(&subject)),
        ("Known by", source(subject.source).into_any()),
        ("Client id", copyable(subject.client_id.clone(), "client id")),
        ("App", view! { <a class="link" href=app_link>{move || names.app(&app)}</a> " in " {move || names.account(&account)} }.into_any()),
        ("Redirect URIs", view! { <ul>{redirects}</ul> }.into_any()),
        ("Authenticates by", view! { <span class="key">{subject.token_endpoint_auth_method.clone()}</span> }.into_any()),
        ("First used by", first),
        ("Registered", moment(subject.created_at)),
        ("Last use", since_or_never(subject.last_used_at)),
        ("Activity", view! { <span class="flex flex-wrap gap-3"><a class="link" href=format!("/audit?client={}", subject.id)>"In the audit log"</a><a class="link" href=format!("/agents?tab=attempts&client={}", subject.id)>"Attempts to get in"</a></span> }.into_any()),
    ];
    let path = format!("/grants?client={}", subject.id);
    let changed = since_approval(&subject);
    view! {
        <div class="flex flex-col gap-6">
            {changed}
            <div class="panel flex flex-col gap-4 p-4">
                {facts(rows)}
                <div class="flex border-t border-base-300 pt-3">
                    <ClientActions subject done=move |saved| remote.put(saved) />
                </div>
            </div>
            <section class="flex flex-col gap-3">
                <h2 class="font-semibold">"Grants"</h2>
                <Grants path=Signal::stored(path) />
            </section>
        </div>
    }
    .into_any()
}

/// Who published what the agent says of itself.
fn described(subject: &Client) -> AnyView {
    match &subject.verified_host {
        Some(host) => {
            let text = format!(" {host} published its document");
            view! { {badge(Tone::Good, "Proven")} <span>{text}</span> }.into_any()
        }
        None => view! { {badge(Tone::Careful, "Not proven")} " nobody but itself" }.into_any(),
    }
}

/// Whether that is who receives what people allow it.
fn received(subject: &Client) -> AnyView {
    if subject.receiver_proven {
        return view! { {badge(Tone::Good, "Proven")} " all redirect URIs are of that host" }.into_any();
    }
    let proven = subject
        .redirect_uris
        .iter()
        .filter(|uri| subject.proves_receiver(uri))
        .count();
    let text = if proven > 0 {
        " some redirect URIs are of that host; at the others somebody else may wait"
    } else if subject
        .redirect_uris
        .iter()
        .any(|uri| !uri.starts_with("https://"))
    {
        " any program of the person's computer may wait there"
    } else {
        " the redirect URIs are of another host"
    };
    view! { {badge(Tone::Careful, "Not proven")} <span>{text}</span> }.into_any()
}

/// What the agent changed after an administrator had approved it.
fn since_approval(subject: &Client) -> Option<AnyView> {
    let (was, is) = (subject.approval.clone()?, subject.to_approve());
    if was == is {
        return None;
    }
    let (mut was, mut is) = (serde_json::to_value(was).ok()?, serde_json::to_value(is).ok()?);
    if let (Some(was), Some(is)) = (was.as_object_mut(), is.as_object_mut()) {
        was.retain(|field, value| is.get(field) != Some(&*value));
        is.retain(|field, _| was.contains_key(field));
    }
    Some(
        view! {
            <section class="panel flex flex-col gap-3 p-4" aria-label="Changed since it was approved">
                <h2 class="font-semibold">"Changed since it was approved"</h2>
                <p class="muted">"An approval holds for what was approved. Look at what is different before you approve it anew."</p>
                {change_table(&was, &is)}
            </section>
        }
        .into_any(),
    )
}

//! Connections: the identity providers that people sign in with.

use crate::{
    client::client,
    me::{Need, directory, me},
    ui::*,
};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde_json::json;
use wire::{Connection, ConnectionKind};

/// `/connections`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let names = directory();
    let create = RwSignal::new(false);
    view! {
        <PageHead title="Connections" text="The identity providers that people sign in with. A shared one is configured once and bound to as many accounts as you like.">
            <Button look=Look::Primary blocked=me().gate(Need::Organisation) on_press=move |()| create.set(true)>"New connection"</Button>
        </PageHead>
        {names.connections.show(move |connections| list(connections, create))}
        <Create open=create />
    }
}

fn list(connections: Vec<Connection>, create: RwSignal<bool>) -> AnyView {
    if connections.is_empty() {
        let body = r#"{"name":"Acme SSO","kind":"oidc","issuer":"https://idp.example.com","client_id":"…","client_secret":"…"}"#;
        return view! {
            <Empty text="No identity provider is connected yet. You need its issuer URL, a client id and a client secret." curl=curl("POST", "/connections", body)>
                <Button look=Look::Primary blocked=me().gate(Need::Organisation) on_press=move |()| create.set(true)>"New connection"</Button>
            </Empty>
        }
        .into_any();
    }
    let names = directory();
    let columns = vec![
        column("Name", |c: &Connection| {
            view! { <a class="name-link inline-block py-1" href=format!("/connections/{}", c.id)>{c.spec.name.clone()}</a> }.into_any()
        })
        .sorted_by(|a, b| a.spec.name.to_lowercase().cmp(&b.spec.name.to_lowercase())),
        column("Kind", |c: &Connection| chip(kind(c.spec.kind))),
        column("Issuer", |c: &Connection| {
            c.spec.issuer.clone().map_or_else(dash, |issuer| view! { <span class="key">{issuer}</span> }.into_any())
        }),
        column("Owner", move |c: &Connection| match c.account.clone() {
            Some(account) => (move || names.account(&account)).into_any(),
            None => "Organisation (shared)".into_any(),
        }),
        column("Health", health),
        column("Last sign-in", |c: &Connection| since_or_never(c.last_success_at))
            .sorted_by(|a, b| a.last_success_at.cmp(&b.last_success_at)),
    ];
    table("Connections", columns, connections)
}

/// How a connection fares, in words.
pub(crate) fn health(connection: &Connection) -> AnyView {
    if !connection.spec.enabled {
        return badge(Tone::Neutral, "Disabled");
    }
    match (&connection.last_error, connection.last_success_at) {
        (Some(_), _) => badge(Tone::Bad, "Last sign-in failed"),
        (None, Some(_)) => badge(Tone::Good, "Works"),
        (None, None) => badge(Tone::Neutral, "Not used yet"),
    }
}

/// A kind in words.
pub(crate) const fn kind(kind: ConnectionKind) -> &'static str {
    match kind {
        ConnectionKind::Oidc => "OpenID Connect",
        ConnectionKind::Github => "GitHub",
        ConnectionKind::EmailCode => "Code by e-mail",
        ConnectionKind::Password => "Local password",
    }
}

#[component]
fn Create(open: RwSignal<bool>) -> impl IntoView {
    let client = client();
    let names = directory();
    let toasts = toasts();
    let navigate = StoredValue::new_local(use_navigate());
    view! {
        <Dialog open title="New OpenID Connect connection">
            {
                let name = RwSignal::new(String::new());
                let issuer = RwSignal::new(String::new());
                let client_id = RwSignal::new(String::new());
                let secret = RwSignal::new(String::new());
                let internal = RwSignal::new(String::new());
                let bind_new = RwSignal::new(true);
                let sending = Sending::new();
                let send = move |event: leptos::ev::SubmitEvent| {
                    event.prevent_default();
                    let secret = secret.get_untracked();
                    let mut body = json!({
                        "name": name.get_untracked().trim(),
                        "kind": "oidc",
                        "issuer": issuer.get_untracked().trim(),
                        "client_id": client_id.get_untracked().trim(),
                        "bind_new_accounts": bind_new.get_untracked(),
                        "allow_internal": words(&internal.get_untracked()),
                    });
                    if !secret.is_empty() {
                        body["client_secret"] = json!(secret);
                    }
                    sending.run(async move { client.post::<Connection>("/connections", &body).await }, move |made| {
                        open.set(false);
                        names.connections.reload();
                        toasts.done(format!("{} made. Register its redirect URI at the provider, then bind it to accounts.", made.spec.name));
                        let target = format!("/connections/{}", made.id);
                        navigate.with_value(|go| go(&target, NavigateOptions::default()));
                    });
                };
                let redirect = format!("{}/login/callback", me().session().control_url.trim_end_matches('/'));
                let known = names.connections.now().unwrap_or_default();
                let known = known.into_iter().find(|c| c.spec.kind == ConnectionKind::Oidc).map(|c| c.redirect_uri);
                view! {
                    <form class="flex flex-col gap-4" on:submit=send>
                        <div>
                            <p class="font-medium">"Redirect URI to register at the provider"</p>
                            {copyable(known.unwrap_or(redirect), "redirect URI")}
                        </div>
                        <TextField label="Name" value=name required=true hint="Shown on the sign-in page." error=sending.at("/name") />
                        <TextField label="Issuer" value=issuer kind="url" required=true placeholder="https://idp.example.com"
                            hint="Exactly as the provider states it; its endpoints and keys are discovered from it." error=sending.at("/issuer") />
                        <TextField label="Client id" value=client_id required=true error=sending.at("/client_id") />
                        <TextField label="Client secret" value=secret kind="password" autocomplete="new-password" hint="Stored encrypted, never shown again." error=sending.at("/client_secret") />
                        <Checkbox label="Bind to accounts that are made later, too" value=bind_new />
                        <details>
                            <summary class="muted w-fit cursor-pointer py-1">"The provider runs on an internal address"</summary>
                            <TextField label="Internal origins it may be reached at" value=internal placeholder="http://10.0.0.5:8080"
                                hint="Internal addresses are refused unless they are listed here." error=sending.at("/allow_internal") />
                        </details>
                        <FormError sending />
                        <FormButtons open sending>"Create connection"</FormButtons>
                    </form>
                }
            }
        </Dialog>
    }
}

/// Words between commas, blanks and line ends.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split([',', ' ', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

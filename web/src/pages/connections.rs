//! Connections: the identity providers that people sign in with.

use crate::{
    me::{Need, directory, me},
    ui::*,
};
use leptos::prelude::*;
use wire::{Connection, ConnectionKind, ConnectionWarning, ConnectionWarningCode};

/// `/connections`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let create = RwSignal::new(false);
    let tabs = vec![
        tab("connections", "Connections", move || {
            directory()
                .connections
                .show(move |connections| list(connections, create))
        }),
        tab("switch", "Switch provider", || {
            view! { <super::migrations::Migrations /> }.into_any()
        }),
    ];
    view! {
        <PageHead title="Connections" text="The identity providers that people sign in with. A shared one is configured once and bound to as many accounts as you like.">
            <Button look=Look::Primary blocked=me().gate(Need::Organisation) on_press=move |()| create.set(true)>"New connection"</Button>
        </PageHead>
        <Tabs label="Connections and switches" tabs />
        <super::new_connection::Create open=create />
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
    if let Some(warning) = connection.warnings.first()
        && matches!(
            warning.code,
            ConnectionWarningCode::SecretExpiring | ConnectionWarningCode::SecretExpired
        )
    {
        return badge(Tone::Careful, "Client secret expires");
    }
    let shares = |warning: &ConnectionWarning| warning.code == ConnectionWarningCode::SharedCallback;
    if connection.last_error.is_none() && connection.warnings.iter().any(shares) {
        return badge(Tone::Careful, "Redirect URI to switch");
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

/// Words between commas, blanks and line ends.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split([',', ' ', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

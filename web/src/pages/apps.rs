//! Apps: what the gateway protects.

use crate::{
    catalogue::others,
    choice::{Choice, Thing, lacking},
    client::{client, query},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde_json::json;
use wire::{App, AppKind, Page as ListPage};

/// `/apps?account=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let names = directory();
    let params = ["account", "q", "cursor"].map(|name| (name, url_param(name).0));
    let apps = Remote::new(move || {
        let filters = params.map(|(name, value)| (name, value.get()));
        let path = format!(
            "/apps{}",
            query(filters.into_iter().chain([("limit", "200".to_owned())]))
        );
        async move { client.get::<ListPage<App>>(&path).await }
    });
    let create = RwSignal::new(false);
    let blocked = me().gate(Need::EditSomewhere);
    view! {
        <PageHead title="Apps" text="Websites, APIs and MCP servers behind the gateway. People sign in with their browser; agents where Managed OAuth is on.">
            <Button look=Look::Primary blocked on_press=move |()| create.set(true)>"New app"</Button>
        </PageHead>
        <div class="mb-4 flex flex-wrap gap-3">
            <FilterSelect label="Account" param="account" options=names.account_options("All accounts") />
            {others(names.accounts, "accounts")}
            <FilterText label="Name" param="q" />
        </div>
        {apps.show(move |page| {
            let found = !params[1].1.get_untracked().is_empty();
            view! { {list(page.items, found, create)} <Pager next=page.next /> }.into_any()
        })}
        <Create open=create />
    }
}

fn list(apps: Vec<App>, found: bool, create: RwSignal<bool>) -> AnyView {
    if apps.is_empty() && found {
        return view! { <p class="muted">"No app has this name."</p> }.into_any();
    }
    if apps.is_empty() {
        let body = r#"{"account":"acc_…","name":"Tickets","kind":"mcp","public_url":"https://tickets.example.com/mcp","origin_url":"http://10.0.0.5:8080"}"#;
        return view! {
            <Empty text="There is no app here yet. Publish the first: say where people reach it and where it really runs." curl=curl("POST", "/apps", body)>
                <Button look=Look::Primary blocked=me().gate(Need::EditSomewhere) on_press=move |()| create.set(true)>"New app"</Button>
            </Empty>
        }
        .into_any();
    }
    let names = directory();
    let columns = vec![
        column("Name", |a: &App| {
            view! { <a class="name-link inline-block py-1" href=format!("/apps/{}", a.id)>{a.spec.name.clone()}</a> }.into_any()
        })
        .sorted_by(|a, b| a.spec.name.to_lowercase().cmp(&b.spec.name.to_lowercase())),
        column("Kind", |a: &App| chip(kind(a.spec.kind))).sorted_by(|a, b| kind(a.spec.kind).cmp(kind(b.spec.kind))),
        column("Account", move |a: &App| {
            let id = a.account.clone();
            (move || names.account(&id)).into_any()
        }),
        column("Reached at", |a: &App| view! { <span class="key">{a.spec.public_url.clone()}</span> }.into_any()),
        column("Managed OAuth", |a: &App| {
            if a.spec.managed_oauth { badge(Tone::Good, "On") } else { badge(Tone::Neutral, "Off") }
        })
        .sorted_by(|a, b| a.spec.managed_oauth.cmp(&b.spec.managed_oauth)),
        column("Policies", |a: &App| match a.spec.policies.len() {
            0 => badge(Tone::Careful, "None: denies everybody"),
            n => n.to_string().into_any(),
        }),
        column("State", |a: &App| {
            if a.spec.enabled { badge(Tone::Good, "Enabled") } else { badge(Tone::Bad, "Disabled") }
        }),
    ];
    table("Apps", columns, apps)
}

/// A kind in words.
pub(crate) const fn kind(kind: AppKind) -> &'static str {
    match kind {
        AppKind::Web => "Web",
        AppKind::Mcp => "MCP",
    }
}

/// Options of the select for the kind.
pub(crate) fn kinds() -> Vec<(String, String)> {
    [
        ("web", "Website or HTTP API"),
        ("mcp", "MCP server (streamable HTTP)"),
    ]
    .map(|(key, text)| (key.to_owned(), text.to_owned()))
    .to_vec()
}

#[component]
fn Create(open: RwSignal<bool>) -> impl IntoView {
    let client = client();
    let names = directory();
    let toasts = toasts();
    let navigate = StoredValue::new_local(use_navigate());
    view! {
        <Dialog open title="New app">
            {
                let account = RwSignal::new(String::new());
                let name = RwSignal::new(String::new());
                let kind = RwSignal::new("web".to_owned());
                let public_url = RwSignal::new(String::new());
                let origin_url = RwSignal::new(String::new());
                let sending = Sending::new();
                let send = move |event: leptos::ev::SubmitEvent| {
                    event.prevent_default();
                    let body = json!({
                        "account": account.get_untracked(),
                        "name": name.get_untracked().trim(),
                        "kind": kind.get_untracked(),
                        "public_url": public_url.get_untracked().trim(),
                        "origin_url": origin_url.get_untracked().trim(),
                    });
                    sending.run(async move { client.post::<App>("/apps", &body).await }, move |app| {
                        open.set(false);
                        names.apps.reload();
                        toasts.done(format!("App {} made. Put a policy on it to let people in.", app.spec.name));
                        let target = format!("/apps/{}?tab=policies", app.id);
                        navigate.with_value(|go| go(&target, NavigateOptions::default()));
                    });
                };
                view! {
                    <form class="flex flex-col gap-4" on:submit=send>
                        <Choice of=Thing::Account label="Account" value=account error=sending.at("/account") />
                        <TextField label="Name" value=name required=true error=sending.at("/name") />
                        <Select label="Kind" value=kind options=Signal::stored(kinds()) error=sending.at("/kind") />
                        <TextField label="Public URL" value=public_url required=true placeholder="https://tickets.example.com/mcp"
                            hint="Where people and agents reach it. For an MCP server with its endpoint's path." error=sending.at("/public_url") />
                        <TextField label="Origin URL" value=origin_url required=true placeholder="http://10.0.0.5:8080"
                            hint="Where the gateway forwards to: scheme, host and port." error=sending.at("/origin_url") />
                        <FormError sending />
                        <FormButtons open sending blocked=lacking(Thing::Account)>"Create app"</FormButtons>
                    </form>
                }
            }
        </Dialog>
    }
}

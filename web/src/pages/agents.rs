//! The agent register: clients, how far they are trusted, what waits for approval; and all grants.

use super::{attempts::Attempts, grants::Grants};
use crate::{
    catalogue::others,
    choice::{Choice, Thing, lacking},
    client::{Write, client, query},
    me::{Need, directory, me},
    remote::Remote,
    selector::tier,
    ui::*,
};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde_json::json;
use wire::{Client, ClientSource, ClientState, ClientTier, CreatedClient, NewClient, Page as ListPage};

/// `/agents?tab=&app=&state=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let tabs = vec![
        tab("agents", "Agents", || view! { <Clients /> }.into_any()),
        tab("grants", "Grants", || view! { <AllGrants /> }.into_any()),
        tab("attempts", "Attempts", || view! { <Attempts /> }.into_any()),
        tab("known", "Known agents", || {
            view! { <super::known_agents::KnownAgents /> }.into_any()
        }),
    ];
    let create = RwSignal::new(false);
    let blocked = me().gate(Need::EditSomewhere);
    view! {
        <PageHead title="Agents" text="Every agent that registered, how far it can be trusted, and what people have allowed it to do.">
            <Button blocked on_press=move |()| create.set(true)>"Enter an agent"</Button>
        </PageHead>
        <Enter open=create />
        <Tabs label="Agents and grants" tabs />
    }
}

#[component]
fn Clients() -> impl IntoView {
    let client = client();
    let names = directory();
    let (app, _) = url_param("app");
    let (state, _) = url_param("state");
    let (cursor, _) = url_param("cursor");
    let clients = Remote::new(move || {
        let path = format!(
            "/clients{}",
            query([
                ("app", app.get()),
                ("state", state.get()),
                ("cursor", cursor.get())
            ])
        );
        async move { client.get::<ListPage<Client>>(&path).await }
    });
    let states = Signal::stored(options(&[
        ("", "Any"),
        ("active", "Active"),
        ("pending", "Waiting for approval"),
        ("blocked", "Blocked"),
    ]));
    view! {
        <div class="mb-4 flex flex-wrap gap-3">
            <FilterSelect label="App" param="app" options=names.app_options("All apps") />
            {others(names.apps, "apps")}
            <FilterSelect label="State" param="state" options=states />
        </div>
        {clients
            .show(move |page| {
                if page.items.is_empty() {
                    return view! {
                        <Empty text="No agent here. Agents register themselves when they first call an app with Managed OAuth on.">
                            <a class="btn btn-sm" href="/apps">"To the apps"</a>
                        </Empty>
                    }
                        .into_any();
                }
                view! {
                    {list(page.items, clients)}
                    <Pager next=page.next />
                }
                    .into_any()
            })}
    }
}

#[component]
fn AllGrants() -> impl IntoView {
    let names = directory();
    let (app, _) = url_param("app");
    let (state, _) = url_param("state");
    let (cursor, _) = url_param("cursor");
    let path = Signal::derive(move || {
        format!(
            "/grants{}",
            query([
                ("app", app.get()),
                ("state", state.get()),
                ("cursor", cursor.get())
            ])
        )
    });
    let states = Signal::stored(options(&[
        ("", "Any"),
        ("active", "In force"),
        ("revoked", "Revoked"),
        ("expired", "Expired"),
    ]));
    view! {
        <div class="mb-4 flex flex-wrap gap-3">
            <FilterSelect label="App" param="app" options=names.app_options("All apps") />
            {others(names.apps, "apps")}
            <FilterSelect label="State" param="state" options=states />
        </div>
        <Grants path />
    }
}

fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
        .collect()
}

fn list(clients: Vec<Client>, all: Remote<ListPage<Client>>) -> AnyView {
    let names = directory();
    let columns = vec![
        column("Agent", |c: &Client| {
            view! {
                <a class="name-link inline-block py-1" href=format!("/agents/{}", c.id)>{c.name.clone()}</a>
                {facts_of(c).map(|text| view! { <span class="muted block text-[0.8125rem]">{text}</span> })}
            }
            .into_any()
        })
        .sorted_by(|a, b| a.name.to_lowercase().cmp(&b.name.to_lowercase())),
        column("Trust", |c: &Client| trust(c.tier)).sorted_by(|a, b| a.tier.cmp(&b.tier)),
        column("State", |c: &Client| client_state(c.state)),
        column("App", move |c: &Client| {
            let app = c.app.clone();
            (move || names.app(&app)).into_any()
        }),
        column("First used by", move |c: &Client| match c.first_user.clone() {
            Some(user) => (move || names.user(&user)).into_any(),
            None => dash(),
        }),
        column("Grants", |c: &Client| c.live_grants.to_string().into_any())
            .sorted_by(|a, b| a.live_grants.cmp(&b.live_grants)),
        column("Last use", |c: &Client| since_or_never(c.last_used_at))
            .sorted_by(|a, b| a.last_used_at.cmp(&b.last_used_at)),
        column(ACTIONS, move |c: &Client| {
            view! { <ClientActions subject=c.clone() done=move |_| all.reload() /> }.into_any()
        }),
    ];
    table("Agents", columns, clients)
}

/// The two facts about an agent, and that it changed, in a line.
fn facts_of(client: &Client) -> Option<String> {
    let receiver = if client.receiver_proven {
        ""
    } else {
        ", receiver not proven"
    };
    let described = client
        .verified_host
        .as_ref()
        .map(|host| format!("described by {host}{receiver}"));
    let changed = client
        .approval
        .as_ref()
        .is_some_and(|was| *was != client.to_approve());
    match (described, changed) {
        (Some(described), true) => Some(format!("{described}; changed since it was approved")),
        (None, true) => Some("changed since it was approved".to_owned()),
        (described, false) => described,
    }
}

/// A tier as a badge.
pub(crate) fn trust(of: ClientTier) -> AnyView {
    let tone = match of {
        ClientTier::Approved | ClientTier::DomainVerified => Tone::Good,
        ClientTier::Unverified | ClientTier::Localhost => Tone::Careful,
    };
    let mut text = tier(of).to_owned();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    badge(tone, text)
}

/// A state as a badge.
pub(crate) fn client_state(state: ClientState) -> AnyView {
    match state {
        ClientState::Active => badge(Tone::Good, "Active"),
        ClientState::Pending => badge(Tone::Careful, "Waiting for approval"),
        ClientState::Blocked => badge(Tone::Bad, "Blocked"),
    }
}

/// How a client came to be known, in words.
pub(crate) const fn source(source: ClientSource) -> &'static str {
    match source {
        ClientSource::Dynamic => "Registered itself (dynamic registration)",
        ClientSource::MetadataDocument => "Its metadata document (the client id is a URL)",
        ClientSource::Preregistered => "Entered by an administrator",
    }
}

/// Approve, block, unblock.
#[component]
pub(crate) fn ClientActions<F>(subject: Client, done: F) -> impl IntoView
where
    F: Fn(Client) + Clone + Send + Sync + 'static,
{
    let (acts, toasts) = (acts(), toasts());
    let sending = Sending::new();
    let blocked = me().gate(Need::Edit(subject.account.clone()));
    let name = subject.name.clone();
    let (state, now_tier) = (subject.state, subject.tier);
    let path = StoredValue::new(format!("/clients/{}", subject.id));
    let version = subject.version;
    let patch = move |body: serde_json::Value| Write::patch(&path.get_value(), version, &body);
    let done = StoredValue::new(done);
    let make = move |body: serde_json::Value, said: &'static str| {
        let done = done.get_value();
        acts.make(sending, patch(body), move |saved: Client| {
            toasts.done(format!("{}: {said}", saved.name));
            done(saved);
        });
    };
    let approve = move |()| make(json!({ "tier": "approved", "state": "active" }), "approved");
    let unblock = move |()| make(json!({ "state": "active" }), "may be used again");
    let block = Act::counted(
        "Block",
        &name,
        "Every grant that people gave it is revoked, its tokens stop working within seconds, and it cannot ask again until it is unblocked.",
    )
    .said("Blocked, its grants are revoked")
    .word("block");
    let ask = move |()| {
        acts.ask(
            block.clone(),
            patch(json!({ "state": "blocked" })),
            done.get_value(),
        )
    };
    view! {
        <span class="inline-flex justify-end gap-1">
            {(now_tier != ClientTier::Approved && state != ClientState::Blocked)
                .then(|| view! { <Button look=Look::Quiet blocked busy=sending.busy label=format!("Approve {name}") on_press=approve>"Approve"</Button> })}
            {if state == ClientState::Blocked {
                view! { <Button look=Look::Quiet blocked busy=sending.busy label=format!("Unblock {name}") on_press=unblock>"Unblock"</Button> }.into_any()
            } else {
                view! { <Button look=Look::Quiet blocked label=format!("Block {name}") on_press=ask>"Block"</Button> }.into_any()
            }}
        </span>
    }
}

/// Enters an agent that cannot register itself; its secret, if it has one, is shown once.
#[component]
fn Enter(open: RwSignal<bool>) -> impl IntoView {
    let sheet = sheet();
    let navigate = StoredValue::new_local(use_navigate());
    view! {
        <Dialog open title="Enter an agent">
            {
                let app = RwSignal::new(String::new());
                let name = RwSignal::new(String::new());
                let uris = RwSignal::new(String::new());
                let confidential = RwSignal::new(false);
                let keys = RwSignal::new(String::new());
                let sending = Sending::new();
                let send = move |event: leptos::ev::SubmitEvent| {
                    event.prevent_default();
                    let Ok(app) = app.get_untracked().parse() else {
                        return sending.refuse("/app", "choose an app");
                    };
                    let body = NewClient {
                        app,
                        name: name.get_untracked().trim().to_owned(),
                        redirect_uris: super::connections::words(&uris.get_untracked()),
                        confidential: confidential.get_untracked(),
                        jwks_uri: Some(keys.get_untracked().trim().to_owned()).filter(|uri| !uri.is_empty()),
                    };
                    sending.write(Write::post("/clients", &body), move |made: CreatedClient| {
                        open.set(false);
                        if let Some(secret) = made.client_secret {
                            let title = format!("Secret of {}", made.record.name);
                            sheet.show(Once::new(title, "Client secret", secret).beside("Client id", made.record.client_id));
                        }
                        // Its page shows the client id, and stands behind the secret.
                        let target = format!("/agents/{}", made.record.id);
                        navigate.with_value(|go| go(&target, NavigateOptions::default()));
                    });
                };
                view! {
                    <form class="flex flex-col gap-4" on:submit=send>
                        <p class="muted">"Most agents register themselves. Enter one here when it cannot, or must not."</p>
                        <Choice of=Thing::App label="App" value=app error=sending.at("/app") />
                        <TextField label="Name" value=name required=true hint="Shown to people when they are asked." error=sending.at("/name") />
                        <TextArea label="Redirect URIs" value=uris hint="One on each line, compared exactly; loopback ignores the port." error=sending.at("/redirect_uris") />
                        <Checkbox label="It can keep a secret" hint="It gets a client secret, shown once" value=confidential />
                        <TextField label="Keys" value=keys hint="Where its public keys are (jwks_uri), if it signs in place of having a secret." error=sending.at("/jwks_uri") />
                        <FormError sending />
                        <FormButtons open sending blocked=lacking(Thing::App)>"Enter agent"</FormButtons>
                    </form>
                }
            }
        </Dialog>
    }
}

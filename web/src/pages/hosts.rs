//! Whose public hosts are: shared and moved on purpose, with a look at who is there.

use crate::{
    catalogue::others,
    choice::{Choice, Thing, lacking},
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{AccountId, Host};

#[component]
pub(crate) fn Hosts() -> impl IntoView {
    let client = client();
    let hosts = Remote::new(move || async move { client.all::<Host>("/hosts").await });
    let chosen = RwSignal::new(None::<Host>);
    view! {
        <div class="flex flex-col gap-4">
            <p class="muted max-w-prose">
                "A public host belongs to the account that published an app there first: pages of one host share their cookies, whatever the port. Share it with another account, or move it, only if both are to be trusted with them."
            </p>
            {hosts.show(move |list| rows(list, hosts, chosen))}
        </div>
        <Changed of=chosen hosts />
    }
}

/// The form of the host that is shared or moved.
#[component]
fn Changed(of: RwSignal<Option<Host>>, hosts: Remote<Vec<Host>>) -> impl IntoView {
    let open = open_for(of);
    view! { <Dialog open title="Share or move a host">{move || of.get().map(|host| view! { <Change open host hosts /> })}</Dialog> }
}

fn rows(list: Vec<Host>, all: Remote<Vec<Host>>, chosen: RwSignal<Option<Host>>) -> AnyView {
    if list.is_empty() {
        return view! { <Empty text="There is no host yet: the first app takes one." /> }.into_any();
    }
    let names = directory();
    let columns = vec![
        column("Host", |h: &Host| {
            view! { <span class="key">{h.name.clone()}</span> }.into_any()
        })
        .sorted_by(|a, b| a.name.cmp(&b.name)),
        column("Account", move |h: &Host| match h.account.clone() {
            Some(id) => (move || names.account(&id)).into_any(),
            None => badge(Tone::Neutral, "Another account"),
        }),
        column("Shared with", move |h: &Host| {
            if h.shared_with.is_empty() {
                return dash();
            }
            let shared = h.shared_with.clone();
            (move || {
                let all: Vec<_> = shared.iter().map(|id| names.account(id)).collect();
                all.join(", ")
            })
            .into_any()
        }),
        column("Apps", |h: &Host| {
            let apps = h.apps.iter().map(|app| {
                let conflict = app.conflict.then(|| badge(Tone::Careful, "Not its account's host"));
                view! { <li><a class="link" href=format!("/apps/{}", app.id)>{app.name.clone()}</a> " " {conflict}</li> }
            });
            if h.apps.is_empty() {
                dash()
            } else {
                view! { <ul>{apps.collect_view()}</ul> }.into_any()
            }
        }),
        column(ACTIONS, move |h: &Host| {
            let blocked = me().gate(Need::Organisation);
            let (host, path) = (h.clone(), format!("/hosts/{}", h.id));
            let act = Act::counted(
                "Give up",
                &h.name,
                "It will belong to whichever account publishes there next. Cookies and bookmarks for what was there lead to them.",
            )
            .said("Host given up");
            let empty = h.apps.is_empty();
            view! {
                <span class="flex flex-wrap justify-end gap-1">
                    <Button look=Look::Quiet blocked label=format!("Share or move {}", h.name) on_press=move |()| chosen.set(Some(host.clone()))>"Share or move"</Button>
                    {empty.then(|| view! { <ActButton act blocked on_done=move |_| all.reload() write=move || Write::delete(&path) /> })}
                </span>
            }
            .into_any()
        }),
    ];
    table("Hosts", columns, list)
}

#[component]
fn Change(open: RwSignal<bool>, host: Host, hosts: Remote<Vec<Host>>) -> impl IntoView {
    let (acts, names) = (acts(), directory());
    let account = RwSignal::new(
        host.account
            .as_ref()
            .map(AccountId::to_string)
            .unwrap_or_default(),
    );
    // With whom it is shared stays so, listed or not, until somebody takes it off.
    let shared = RwSignal::new(host.shared_with.clone());
    let body = move || {
        let account = account.get();
        let mut shared = shared.get();
        shared.retain(|id| id.as_ref() != account);
        json!({ "account": account, "shared_with": shared })
    };
    let guests = move || {
        let listed = names.accounts.ready().unwrap_or_default();
        let unlisted = shared.with_untracked(|shared| {
            let unlisted = shared.iter().filter(|id| listed.iter().all(|a| a.id != **id));
            unlisted
                .map(|id| (id.clone(), names.account(id)))
                .collect::<Vec<_>>()
        });
        let listed = listed.into_iter().map(|a| (a.id, a.spec.name));
        unlisted
            .into_iter()
            .chain(listed)
            .map(|(id, name)| guest(id, name, (account, shared)))
            .collect_view()
    };
    let (name, version) = (host.name.clone(), host.version);
    let path = format!("/hosts/{}", host.id);
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let act = Act::counted(
            "Change host",
            &name,
            "Pages of all accounts that publish there are one place to browsers: each can read and set the others' cookies.",
        )
        .asks(format!("Change {name}?"))
        .said("Host changed");
        let write = Write::patch(&path, version, &untrack(body));
        acts.ask(act, write, move |_: Host| {
            open.try_set(false);
            hosts.reload();
        });
    };
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            <p><span class="key">{host.name.clone()}</span></p>
            <Choice of=Thing::Account label="Belongs to" value=account />
            <fieldset class="flex flex-col gap-1">
                <legend class="font-medium">"Other accounts that may publish there"</legend>
                {guests}
                {others(names.accounts, "accounts")}
            </fieldset>
            <p class="muted">"Pages of all of them are one place to browsers: each can read and set the others' cookies."</p>
            <FormButtons open sending=Sending::new() blocked=lacking(Thing::Account)>"Change host"</FormButtons>
        </form>
    }
}

/// One that may publish there, or not; not the one that it belongs to.
fn guest(
    id: AccountId,
    name: String,
    (owner, shared): (RwSignal<String>, RwSignal<Vec<AccountId>>),
) -> impl IntoView {
    let on = RwSignal::new(shared.with_untracked(|shared| shared.contains(&id)));
    let (mine, text) = (id.clone(), id.to_string());
    Effect::new(move |before: Option<bool>| {
        let now = on.get();
        if before.is_some_and(|before| before != now) {
            shared.update(|shared| {
                shared.retain(|one| *one != mine);
                if now {
                    shared.push(mine.clone());
                }
            });
        }
        now
    });
    view! { <Show when=move || owner.get() != text><Checkbox label=name.clone() value=on /></Show> }
}

//! Which policies decide on the app, and in which order.

use super::Subject;
use crate::{client::client, remote::Remote, ui::*};
use leptos::prelude::*;
use serde_json::json;
use wire::{Policy, PolicyId};

#[component]
pub(super) fn Policies(subject: Subject) -> impl IntoView {
    let client = client();
    let app = subject.app.get_untracked();
    let account = app.account.clone();
    let chosen = RwSignal::new(app.spec.policies);
    let known = Remote::new(move || {
        let path = format!("/policies?account={account}");
        async move { client.all::<Policy>(&path).await }
    });
    known.show(move |policies| view! { <Editor subject chosen policies /> }.into_any())
}

#[component]
fn Editor(subject: Subject, chosen: RwSignal<Vec<PolicyId>>, policies: Vec<Policy>) -> impl IntoView {
    let sending = Sending::new();
    let blocked = subject.blocked;
    let policies = StoredValue::new(policies);
    let changed = move || chosen.get() != subject.app.with(|app| app.spec.policies.clone());
    let add = RwSignal::new(String::new());
    let rest = Signal::derive(move || {
        let chosen = chosen.get();
        policies.with_value(|policies| {
            policies
                .iter()
                .filter(|policy| !chosen.contains(&policy.id))
                .map(|policy| (policy.id.to_string(), policy.spec.name.clone()))
                .collect::<Vec<_>>()
        })
    });
    Effect::new(move |_| add.set(rest.get().first().map(|(id, _)| id.clone()).unwrap_or_default()));
    let append = move |()| {
        if let Ok(id) = add.get_untracked().parse::<PolicyId>() {
            chosen.update(|list| list.push(id));
        }
    };
    let save = move |()| {
        let patch = json!({ "policies": chosen.get_untracked() });
        subject.save(sending, &patch, "is decided by these policies now");
    };
    let swap = move |a: usize, b: usize| chosen.update(|list| list.swap(a, b));
    let row = move |index: usize, id: PolicyId, last: bool| {
        let found = policies.with_value(|list| list.iter().find(|policy| policy.id == id).cloned());
        let name = found
            .as_ref()
            .map_or_else(|| id.to_string(), |policy| policy.spec.name.clone());
        let decision = found.map(|policy| crate::pages::policies::decision(policy.spec.decision));
        let remove = move |()| chosen.update(|list| drop(list.remove(index)));
        view! {
            <li class="panel flex flex-wrap items-center gap-3 px-3 py-2">
                <span class="muted w-5 tabular-nums">{index + 1}</span>
                <a class="name-link grow py-1" href=format!("/policies/{id}")>{name.clone()}</a>
                {decision}
                <span class="flex gap-1">
                    {(index > 0).then(|| view! { <Button look=Look::Quiet blocked label=format!("Move {name} up") on_press=move |()| swap(index, index - 1)>"↑"</Button> })}
                    {(!last).then(|| view! { <Button look=Look::Quiet blocked label=format!("Move {name} down") on_press=move |()| swap(index, index + 1)>"↓"</Button> })}
                    <Button look=Look::Quiet blocked label=format!("Take {name} off this app") on_press=remove>"✕"</Button>
                </span>
            </li>
        }
    };
    view! {
        <div class="flex flex-col gap-4">
            <p class="muted max-w-prose">"The first policy that matches decides; when none matches, the request is denied. Rules of the organisation apply on top and cannot be weakened here."</p>
            <ol class="flex flex-col gap-2">
                {move || {
                    let list = chosen.get();
                    let count = list.len();
                    list.into_iter().enumerate().map(|(index, id)| row(index, id, index + 1 == count)).collect_view()
                }}
            </ol>
            <Show when=move || chosen.get().is_empty()>
                <p class="text-warning font-medium">"No policy: everybody is denied."</p>
            </Show>
            <Show
                when=move || !rest.get().is_empty()
                fallback=|| view! { <p><a class="link" href="/policies">"Make another policy"</a></p> }
            >
                <div class="flex flex-wrap items-end gap-2">
                    <div class="w-full sm:w-72">
                        <Select label="Add a policy of this account" value=add options=rest />
                    </div>
                    <Button blocked on_press=append>"Add"</Button>
                </div>
            </Show>
            <FormError sending />
            <div class="flex flex-wrap gap-2">
                <Button look=Look::Primary busy=sending.busy on_press=save
                    blocked=Signal::derive(move || blocked.get().or_else(|| (!changed()).then(|| "nothing has changed".into())))>
                    "Save order"
                </Button>
                <a class="btn btn-sm btn-ghost" href=move || format!("/policies?test={}", subject.app.with(|app| app.id.to_string()))>"Test a person against this app"</a>
            </div>
        </div>
    }
}

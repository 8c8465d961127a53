//! Grants in a table with revoke; part of several pages.

use crate::{
    client::{Write, client},
    me::{Need, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use wire::{Grant, GrantState, Page as ListPage};

/// The grants that `path` lists, and the page's cursor.
#[component]
pub(crate) fn Grants(#[prop(into)] path: Signal<String>) -> impl IntoView {
    let client = client();
    let grants = Remote::new(move || {
        let path = path.get();
        async move { client.get::<ListPage<Grant>>(&path).await }
    });
    grants.show(move |page| {
        if page.items.is_empty() {
            return view! {
                <Empty text="No grant yet. One is made when a person allows an agent at an app with Managed OAuth on.">
                    <a class="btn btn-sm" href="/apps">"To the apps"</a>
                </Empty>
            }
            .into_any();
        }
        view! {
            {list(page.items, grants)}
            <Pager next=page.next />
        }
        .into_any()
    })
}

fn list(grants: Vec<Grant>, all: Remote<ListPage<Grant>>) -> AnyView {
    let columns = vec![
        column("Person", |g: &Grant| {
            let name = g.user_email.clone().unwrap_or_else(|| g.user.to_string());
            view! { <a class="link inline-block py-1" href=format!("/people/{}", g.user)>{name}</a> }.into_any()
        })
        .sorted_by(|a, b| a.user_email.cmp(&b.user_email)),
        column("Agent", |g: &Grant| {
            view! { <a class="link inline-block py-1" href=format!("/agents/{}", g.client)>{g.client_name.clone()}</a> }.into_any()
        })
        .sorted_by(|a, b| a.client_name.cmp(&b.client_name)),
        column("App", |g: &Grant| g.app_name.clone().into_any()).sorted_by(|a, b| a.app_name.cmp(&b.app_name)),
        column("Scopes", |g: &Grant| chips(g.scopes.clone())),
        column("State", state),
        column("Given", |g: &Grant| since(g.created_at)).sorted_by(|a, b| a.created_at.cmp(&b.created_at)),
        column("Last use", |g: &Grant| since_or_never(g.last_used_at)).sorted_by(|a, b| a.last_used_at.cmp(&b.last_used_at)),
        column(ACTIONS, move |g: &Grant| view! { <RowActions grant=g.clone() all /> }.into_any()),
    ];
    table("Grants", columns, grants)
}

fn state(grant: &Grant) -> AnyView {
    match grant.state {
        GrantState::Active => badge(Tone::Good, "In force"),
        GrantState::Expired => badge(Tone::Neutral, "Expired"),
        GrantState::Revoked => {
            let when = grant.revoked_at.map(local).unwrap_or_default();
            let why = grant.revoked_reason.clone().unwrap_or_default();
            view! { <span title=format!("{when} {why}")>{badge(Tone::Bad, "Revoked")}</span> }.into_any()
        }
    }
}

#[component]
fn RowActions(grant: Grant, all: Remote<ListPage<Grant>>) -> impl IntoView {
    let path = StoredValue::new(format!("/grants/{}", grant.id));
    let person = grant.user_email.clone().unwrap_or_else(|| grant.user.to_string());
    let blocked = me().gate(Need::Edit(grant.account.clone()));
    let live = grant.state == GrantState::Active;
    let act = Act::counted(
        "Revoke",
        format!("the grant of {person} to {}", grant.client_name),
        format!(
            "{} can no longer act for {person} at {}. Its tokens stop working within seconds; it has to ask again.",
            grant.client_name, grant.app_name
        ),
    )
    .asks("Revoke this grant?")
    .said("Grant revoked: the agent's next call is refused")
    .word("revoke");
    view! {
        <span class="flex justify-end gap-1">
            <a class="btn btn-sm btn-ghost" href=format!("/audit?grant={}", grant.id)>"Log"</a>
            {live.then(|| view! { <ActButton act blocked on_done=move |_| all.reload() write=move || Write::delete(&path.get_value()) /> })}
        </span>
    }
}

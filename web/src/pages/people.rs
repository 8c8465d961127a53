//! People: everybody who has signed in through a connection.

use crate::{
    client::{client, query},
    me::{directory, person},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use wire::{Page as ListPage, User};

/// `/people?tab=&q=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let tabs = vec![
        tab("people", "People", || view! { <People /> }.into_any()),
        tab("groups", "Groups", || {
            view! { <super::groups::Groups /> }.into_any()
        }),
        tab("roles", "Roles", || view! { <super::roles::Roles /> }.into_any()),
    ];
    view! {
        <PageHead title="People" text="Everybody who has signed in. A person is who one connection says they are: the same e-mail address through two connections is two people." />
        <Tabs label="People and groups" tabs />
    }
}

#[component]
fn People() -> impl IntoView {
    let client = client();
    let (q, _) = url_param("q");
    let (cursor, _) = url_param("cursor");
    let users = Remote::new(move || {
        let path = format!("/users{}", query([("q", q.get()), ("cursor", cursor.get())]));
        async move { client.get::<ListPage<User>>(&path).await }
    });
    view! {
        <div class="mb-4 flex flex-wrap gap-3">
            <FilterText label="Name or e-mail" param="q" />
        </div>
        {users
            .show(move |page| {
                if page.items.is_empty() {
                    return view! {
                        <Empty text="Nobody is found. People appear here when they first sign in.">
                            <a class="btn btn-sm" href="/connections">"To the connections"</a>
                        </Empty>
                    }
                        .into_any();
                }
                view! {
                    {list(page.items)}
                    <Pager next=page.next />
                }
                    .into_any()
            })}
    }
}

fn list(users: Vec<User>) -> AnyView {
    let names = directory();
    let columns = vec![
        column("Person", |u: &User| {
            view! {
                <a class="name-link inline-block py-1" href=format!("/people/{}", u.id)>{person(u)}</a>
                {u.name.clone().filter(|_| u.email.is_some()).map(|name| view! { <span class="muted block text-[0.8125rem]">{name}</span> })}
            }
            .into_any()
        })
        .sorted_by(|a, b| person(a).to_lowercase().cmp(&person(b).to_lowercase())),
        column("Connection", move |u: &User| {
            let connection = u.connection.clone();
            (move || names.connection(&connection)).into_any()
        }),
        column("Groups", |u: &User| chips(u.groups.clone())),
        column("Last sign-in", |u: &User| since_or_never(u.last_login_at)).sorted_by(|a, b| a.last_login_at.cmp(&b.last_login_at)),
        column("State", |u: &User| {
            if u.disabled { badge(Tone::Bad, "Disabled") } else { badge(Tone::Good, "Enabled") }
        })
        .sorted_by(|a, b| a.disabled.cmp(&b.disabled)),
    ];
    table("People", columns, users)
}

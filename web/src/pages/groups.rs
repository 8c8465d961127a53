//! Groups: people named one by one, or by rules; policies ask for them.

use crate::{
    catalogue::{Catalogue, others},
    choice::{Choice, Thing, lacking},
    client::{Write, client, query},
    me::{Need, directory, me, person},
    remote::Remote,
    selector::{Drafts, SelectorList, in_words},
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{AccountId, Group, GroupSpec, Page as ListPage, UserId};

/// The tab on the page of people.
#[component]
pub(crate) fn Groups() -> impl IntoView {
    let (client, groups) = (client(), directory().groups);
    let params = ["q", "cursor"].map(|name| (name, url_param(name).0));
    let listed = Remote::new(move || {
        // Whoever changes one has all of them read again.
        let known = groups.ready().is_some();
        let filters = params.map(|(name, value)| (name, value.get()));
        let path = format!(
            "/groups{}",
            query(filters.into_iter().chain([("limit", "200".to_owned())]))
        );
        async move {
            if !known {
                std::future::pending::<()>().await;
            }
            client.get::<ListPage<Group>>(&path).await
        }
    });
    let create = RwSignal::new(false);
    let edited = RwSignal::new(None);
    view! {
        <div class="mb-4 flex flex-wrap items-end justify-between gap-3">
            <p class="muted max-w-prose">"Groups of your own, for policies. What the identity provider calls groups is asked for with a claim rule."</p>
            <Button look=Look::Primary blocked=me().gate(Need::EditSomewhere) on_press=move |()| create.set(true)>"New group"</Button>
        </div>
        <div class="mb-4 flex flex-wrap gap-3"><FilterText label="Name" param="q" /></div>
        {listed.show(move |page| {
            let found = !params[0].1.get_untracked().is_empty();
            let groups = if found && page.items.is_empty() {
                view! { <p class="muted">"No group has this name."</p> }.into_any()
            } else {
                table_of(page.items, groups, edited)
            };
            view! { {groups} <Pager next=page.next /> }.into_any()
        })}
        <Edited of=edited groups />
        <Dialog open=create title="New group"><Form open=create group=None groups /></Dialog>
    }
}

fn table_of(groups: Vec<Group>, all: Catalogue<Group>, edited: RwSignal<Option<Group>>) -> AnyView {
    if groups.is_empty() {
        let body = r#"{"account":"acc_…","name":"Ticket editors","members":["usr_…"]}"#;
        return view! { <Empty text="There is no group yet. Make one to name people once and use them in many policies." curl=curl("POST", "/groups", body) /> }
            .into_any();
    }
    let names = directory();
    let columns = vec![
        column("Name", |g: &Group| {
            view! { <span class="font-semibold">{g.spec.name.clone()}</span> }.into_any()
        })
        .sorted_by(|a, b| a.spec.name.to_lowercase().cmp(&b.spec.name.to_lowercase())),
        column("Account", move |g: &Group| {
            let account = g.account.clone();
            (move || names.account(&account)).into_any()
        }),
        column("Members", |g: &Group| match g.spec.members.len() {
            0 => dash(),
            1 => "1 person".into_any(),
            n => format!("{n} people").into_any(),
        }),
        column("Or anybody with", move |g: &Group| {
            let include = g.spec.include.clone();
            if include.is_empty() {
                return dash();
            }
            (move || {
                include
                    .iter()
                    .map(|one| in_words(one, names))
                    .collect::<Vec<_>>()
                    .join(", ")
            })
            .into_any()
        }),
        column(ACTIONS, move |g: &Group| {
            view! { <RowActions group=g.clone() all edited /> }.into_any()
        }),
    ];
    table("Groups", columns, groups)
}

#[component]
fn RowActions(group: Group, all: Catalogue<Group>, edited: RwSignal<Option<Group>>) -> impl IntoView {
    let blocked = me().gate(Need::Edit(group.account.clone()));
    let path = StoredValue::new(format!("/groups/{}", group.id));
    let name = group.spec.name.clone();
    let act = Act::counted(
        "Delete",
        &name,
        "It can be deleted once no policy asks for it. This cannot be taken back.",
    )
    .said("Group deleted")
    .typed();
    view! {
        <span class="inline-flex gap-1">
            <Button look=Look::Quiet blocked label=format!("Edit {name}") on_press=move |()| edited.set(Some(group.clone()))>"Edit"</Button>
            <ActButton act blocked on_done=move |_| all.reload() write=move || Write::delete(&path.get_value()) />
        </span>
    }
}

/// The form of the group that is edited. Not owned by its row, which is made anew whenever the list is.
#[component]
fn Edited(of: RwSignal<Option<Group>>, groups: Catalogue<Group>) -> impl IntoView {
    let open = open_for(of);
    view! { <Dialog open title="Edit group">{move || of.get().map(|group| view! { <Form open group=Some(group) groups /> })}</Dialog> }
}

#[component]
fn Form(open: RwSignal<bool>, group: Option<Group>, groups: Catalogue<Group>) -> impl IntoView {
    let acts = acts();
    let names = directory();
    let toasts = toasts();
    let spec = group.as_ref().map_or_else(
        || GroupSpec {
            name: String::new(),
            members: Vec::new(),
            include: Vec::new(),
        },
        |group| group.spec.clone(),
    );
    let existing = group.is_some();
    let group = StoredValue::new(group);
    let account = RwSignal::new(String::new());
    let blocked = if existing {
        Signal::stored(None)
    } else {
        lacking(Thing::Account)
    };
    let name = RwSignal::new(spec.name);
    let include = Drafts::of(&spec.include);
    let members = RwSignal::new(spec.members);
    let sending = Sending::new().called(&[("/include", "Or anybody with")]);
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let include = match untrack(|| include.build()) {
            Ok(include) => include,
            Err(missing) => return sending.refuse("/include", missing),
        };
        let spec = GroupSpec {
            name: name.get_untracked().trim().to_owned(),
            members: members.get_untracked(),
            include,
        };
        let done = move |saved: Group| {
            open.set(false);
            toasts.done(format!("Group {} saved", saved.spec.name));
            groups.reload();
        };
        match group.get_value() {
            Some(group) => {
                let write = Write::patch(&format!("/groups/{}", group.id), group.version, &spec);
                let act = Act::counted(
                    "Save group",
                    &group.spec.name,
                    "By this change, people lose what policies allow through the group.",
                )
                .asks(format!("Save {}?", group.spec.name));
                acts.save(sending, act, write, done);
            }
            None => {
                let Ok(account) = account.get_untracked().parse::<AccountId>() else {
                    return sending.refuse("/account", "choose an account");
                };
                let mut body = serde_json::to_value(&spec).unwrap_or_default();
                body["account"] = json!(account);
                sending.write(Write::post("/groups", &body), done);
            }
        }
    };
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            {(!existing).then(|| view! { <Choice of=Thing::Account label="Account" value=account error=sending.at("/account") /> })}
            <TextField label="Name" value=name required=true error=sending.at("/name") />
            <fieldset>
                <legend class="mb-1 font-medium">"Members"</legend>
                <div class="max-h-48 overflow-y-auto rounded-(--radius-field) border border-base-300 px-3 py-1" tabindex="0" role="group" aria-label="People">
                    {move || {
                        let known = names.users.ready().unwrap_or_default();
                        // Who is in it stands here, listed or not.
                        let unlisted = members.with_untracked(|own| {
                            let unlisted = own.iter().filter(|id| known.iter().all(|user| user.id != **id));
                            unlisted.map(|id| member(id.clone(), names.user(id), members)).collect_view()
                        });
                        let listed = known.iter().map(|user| member(user.id.clone(), person(user), members)).collect_view();
                        view! { {unlisted} {listed} }
                    }}
                </div>
                {others(names.users, "people")}
            </fieldset>
            <SelectorList drafts=include label="Or anybody with" hint="Whoever matches one of these is in the group, too." error=sending.at("/include") />
            <FormError sending />
            <FormButtons open sending blocked>"Save group"</FormButtons>
        </form>
    }
}

fn member(id: UserId, name: String, members: RwSignal<Vec<UserId>>) -> impl IntoView {
    let on = RwSignal::new(members.with_untracked(|list| list.contains(&id)));
    Effect::new(move |before: Option<bool>| {
        let now = on.get();
        if before.is_some_and(|before| before != now) {
            members.update(|list| {
                list.retain(|one| *one != id);
                if now {
                    list.push(id.clone());
                }
            });
        }
        now
    });
    view! { <Checkbox label=name value=on /> }
}

//! Switching the identity provider: side by side, links that somebody approves, cut-over, roll-back.

use crate::{
    choice::{Choice, Thing, lacking},
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_params_map},
};
use serde_json::json;
use wire::{
    ConnectionLink, ConnectionMigration, ConnectionMigrationId, LinkState, MigrationState, Page as ListPage,
    PersonRef,
};

/// The tab on the page of connections.
#[component]
pub(crate) fn Migrations() -> impl IntoView {
    let client = client();
    let all =
        Remote::new(move || async move { client.all::<ConnectionMigration>("/connection-migrations").await });
    let create = RwSignal::new(false);
    view! {
        <div class="flex flex-col gap-4">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <p class="muted max-w-prose">"From one identity provider to another: both sign people in side by side, you say who is who, and whoever is linked keeps roles, agents and groups. Nobody is linked by an e-mail address alone."</p>
                <Button look=Look::Primary blocked=me().gate(Need::Organisation) on_press=move |()| create.set(true)>"Switch provider"</Button>
            </div>
            {all.show(table_of)}
        </div>
        <Dialog open=create title="Switch the identity provider"><Create open=create /></Dialog>
    }
}

fn table_of(list: Vec<ConnectionMigration>) -> AnyView {
    if list.is_empty() {
        return view! { <p class="muted">"No switch was ever begun."</p> }.into_any();
    }
    let names = directory();
    let columns = vec![
        column("From and to", move |m: &ConnectionMigration| {
            let (from, to) = (m.spec.from.clone(), m.spec.to.clone());
            let text = move || format!("{} → {}", names.connection(&from), names.connection(&to));
            view! { <a class="name-link inline-block py-1" href=format!("/connection-migrations/{}", m.id)>{text}</a> }.into_any()
        }),
        column("State", |m: &ConnectionMigration| state(m.state)),
        column("Links", |m: &ConnectionMigration| {
            let links = m.links;
            format!(
                "{} proposed, {} approved, {} linked",
                links.proposed, links.approved, links.linked
            )
            .into_any()
        }),
        column("Begun", |m: &ConnectionMigration| moment(m.created_at)),
    ];
    table("Switches of the identity provider", columns, list)
}

fn state(state: MigrationState) -> AnyView {
    match state {
        MigrationState::SideBySide => badge(Tone::Careful, "Side by side"),
        MigrationState::CutOver => badge(Tone::Good, "Cut over; can be rolled back"),
        MigrationState::RolledBack => badge(Tone::Neutral, "Rolled back"),
        MigrationState::Completed => badge(Tone::Neutral, "Completed"),
    }
}

#[component]
fn Create(open: RwSignal<bool>) -> impl IntoView {
    let client = client();
    let navigate = StoredValue::new_local(use_navigate());
    let (from, to) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let domains = RwSignal::new(String::new());
    let on_sign_in = RwSignal::new(false);
    let sending = Sending::new();
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let body = json!({
            "from": from.get_untracked(),
            "to": to.get_untracked(),
            "domains": super::connections::words(&domains.get_untracked()),
            "link_on_sign_in": on_sign_in.get_untracked(),
        });
        sending.run(
            async move {
                client
                    .post::<ConnectionMigration>("/connection-migrations", &body)
                    .await
            },
            move |made| {
                open.set(false);
                let target = format!("/connection-migrations/{}", made.id);
                navigate.with_value(|go| go(&target, NavigateOptions::default()));
            },
        );
    };
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            <Choice of=Thing::TwoProviders label="From" value=from hint="People sign in through it now." error=sending.at("/from") />
            <Choice of=Thing::TwoProviders nth=1 label="To" value=to hint="It is bound beside it, in the same accounts." error=sending.at("/to") />
            <TextField label="E-mail domains that you own" value=domains required=true hint="Only people with the same verified address in one of these are proposed to be one person." error=sending.at("/domains") />
            <Checkbox label="After the cut-over, link people at their first sign-in by the same rule" hint="Never people with a role in this dashboard." value=on_sign_in />
            <FormError sending />
            <FormButtons open sending blocked=lacking(Thing::TwoProviders)>"Begin side by side"</FormButtons>
        </form>
    }
}

/// `/connection-migrations/{id}`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let params = use_params_map();
    let remote = Remote::new(move || {
        let id = params.with(|params| params.get("id").unwrap_or_default());
        async move {
            client
                .get::<ConnectionMigration>(&format!("/connection-migrations/{id}"))
                .await
        }
    });
    view! {
        <PageHead title="Switch of the identity provider" parent=("/connections?tab=switch", "Connections") />
        {remote.live(move |migration| {
            let id = migration.get_untracked().id;
            view! {
                <div class="flex flex-col gap-6">
                    <div class="panel flex flex-col gap-4 p-4">
                        {move || summary(&migration.get())}
                        {move || view! { <Steps migration=migration.get() remote /> }}
                    </div>
                    <Links id migration remote />
                </div>
            }
            .into_any()
        })}
    }
}

fn summary(migration: &ConnectionMigration) -> AnyView {
    let names = directory();
    let connection = |id: &wire::ConnectionId| {
        let (id, link) = (id.clone(), format!("/connections/{id}"));
        view! { <a class="link" href=link>{move || names.connection(&id)}</a> }.into_any()
    };
    let links = migration.links;
    facts(vec![
        ("From", connection(&migration.spec.from)),
        ("To", connection(&migration.spec.to)),
        ("State", state(migration.state)),
        ("Domains", chips(migration.spec.domains.clone())),
        (
            "Links",
            format!(
                "{} proposed, {} approved, {} rejected, {} linked",
                links.proposed, links.approved, links.rejected, links.linked
            )
            .into_any(),
        ),
        ("Begun", moment(migration.created_at)),
        ("Cut over", migration.cut_over_at.map_or_else(dash, moment)),
    ])
}

/// What can be done next.
#[component]
fn Steps(migration: ConnectionMigration, remote: Remote<ConnectionMigration>) -> impl IntoView {
    let path = StoredValue::new(format!("/connection-migrations/{}", migration.id));
    let blocked = me().gate(Need::Organisation);
    let act = |label, text, said| Act::counted(label, "the switch", text).said(said);
    let at = move |step: &str, body: serde_json::Value| {
        let path = format!("{}/{step}", path.get_value());
        move || Write::post(&path, &body)
    };
    let reload = move |_: serde_json::Value| remote.reload();
    let cut = act(
        "Cut over",
        "Linked people sign in through the new connection from now on, which becomes the primary one. The old one drains for 30 days. It can be rolled back.",
        "Cut over",
    );
    let back = act(
        "Roll back",
        "Everybody signs in as before, bindings and primary connection are what they were.",
        "Rolled back",
    );
    let complete = act(
        "Complete",
        "The switch is over and can no longer be rolled back.",
        "Completed",
    );
    let in_a_month = now().plus_seconds(30 * 86_400);
    let is = migration.state;
    view! {
        <div class="flex flex-wrap gap-2 border-t border-base-300 pt-3">
            {(is == MigrationState::SideBySide).then(|| view! {
                <ActButton act=cut look=Look::Plain blocked on_done=reload write=at("cut-over", json!({ "drain_until": in_a_month })) />
            })}
            {matches!(is, MigrationState::SideBySide | MigrationState::CutOver).then(|| view! {
                <ActButton act=back look=Look::Plain blocked on_done=reload write=at("roll-back", json!({})) />
            })}
            {(is == MigrationState::CutOver).then(|| view! {
                <ActButton act=complete look=Look::Plain blocked on_done=reload write=at("complete", json!({})) />
            })}
        </div>
    }
}

#[component]
fn Links(
    id: ConnectionMigrationId,
    migration: Signal<ConnectionMigration>,
    remote: Remote<ConnectionMigration>,
) -> impl IntoView {
    let client = client();
    let path = StoredValue::new(format!("/connection-migrations/{id}/links"));
    let (cursor, _) = url_param("cursor");
    let links = Remote::new(move || {
        let path = format!(
            "{}{}",
            path.get_value(),
            crate::client::query([("cursor", cursor.get())])
        );
        async move { client.get::<ListPage<ConnectionLink>>(&path).await }
    });
    let blocked = me().gate(Need::Organisation);
    let approve_all = Act::new(
        "Approve all",
        "proposed links",
        "Each pair has the same verified e-mail address in a domain of yours, and nobody else has it. They become one person at the cut-over.",
    )
    .said("Links approved");
    let all = StoredValue::new(format!("{}/approve-all", path.get_value()));
    let open = move || migration.with(|m| m.state == MigrationState::SideBySide && m.links.proposed > 0);
    let changed = move |_: serde_json::Value| {
        links.reload();
        remote.reload();
    };
    view! {
        <section class="flex flex-col gap-3">
            <header class="flex flex-wrap items-end justify-between gap-3">
                <h2 class="font-semibold">"Links"</h2>
                <Show when=open>
                    <ActButton act=approve_all.clone() blocked on_done=changed write=move || Write::post(&all.get_value(), &json!({})) />
                </Show>
            </header>
            {links.show(move |page| {
                if page.items.is_empty() {
                    return view! { <p class="muted">"No pair fits yet. Pairs appear when people have signed in through the new connection."</p> }.into_any();
                }
                let columns = vec![
                    column("Before", |l: &ConnectionLink| person(&l.from_user)),
                    column("After", |l: &ConnectionLink| person(&l.to_user)),
                    column("State", |l: &ConnectionLink| match l.state {
                        LinkState::Proposed => badge(Tone::Careful, "Proposed"),
                        LinkState::Approved => badge(Tone::Good, "Approved"),
                        LinkState::Rejected => badge(Tone::Bad, "Rejected"),
                        LinkState::Linked => badge(Tone::Good, "Linked"),
                    }),
                    column("Found by", |l: &ConnectionLink| if l.manual { "an administrator" } else { "the rule" }.into_any()),
                    column(ACTIONS, move |l: &ConnectionLink| view! { <Decide path=path.get_value() link=l.clone() blocked on_done=changed /> }.into_any()),
                ];
                view! { {table("Links", columns, page.items)} <Pager next=page.next /> }.into_any()
            })}
        </section>
    }
}

fn person(who: &PersonRef) -> AnyView {
    let name = who.email.clone().or_else(|| who.name.clone());
    let name = name.unwrap_or_else(|| who.id.to_string());
    view! { <a class="link" href=format!("/people/{}", who.id)>{name}</a> }.into_any()
}

#[component]
fn Decide<F>(path: String, link: ConnectionLink, blocked: Signal<Option<String>>, on_done: F) -> impl IntoView
where
    F: Fn(serde_json::Value) + Clone + Send + Sync + 'static,
{
    let acts = acts();
    let sending = Sending::new();
    let stored = StoredValue::new((path, link.clone(), on_done));
    let decide = move |state: &'static str| {
        let (path, link, on_done) = stored.get_value();
        let body = json!({ "from_user": link.from_user.id, "to_user": link.to_user.id, "state": state });
        acts.make(sending, Write::post(&path, &body), on_done);
    };
    let linked = link.state == LinkState::Linked;
    let (approved, rejected) = (
        link.state == LinkState::Approved,
        link.state == LinkState::Rejected,
    );
    (!linked).then(|| {
        view! {
            <span class="inline-flex gap-1">
                {(!approved).then(|| view! { <Button look=Look::Quiet blocked busy=sending.busy on_press=move |()| decide("approved")>"Approve"</Button> })}
                {(!rejected).then(|| view! { <Button look=Look::Quiet blocked busy=sending.busy on_press=move |()| decide("rejected")>"Reject"</Button> })}
            </span>
        }
    })
}

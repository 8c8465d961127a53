//! One person: who they are upstream, their roles, second factors, sessions and grants; disabling them.

mod factors;

use self::factors::Factors;
use super::grants::Grants;
use crate::{
    choice::{Choice, Thing, lacking},
    client::{Write, client},
    me::{Need, directory, me, person},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use leptos_router::hooks::use_params_map;
use serde_json::json;
use wire::{BrowserSession, ConnectionKind, Member, NewMember, Role, User, UserId};

/// `/people/{id}`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let params = use_params_map();
    let remote = Remote::new(move || {
        let id = params.with(|params| params.get("id").unwrap_or_default());
        async move { client.get::<User>(&format!("/users/{id}")).await }
    });
    let title = Signal::derive(move || remote.with(person).unwrap_or_else(|| "Person".into()));
    view! {
        <PageHead title parent=("/people", "People") />
        {remote
            .live(move |user| {
                let id = user.get_untracked().id;
                let grants = format!("/grants?user={id}");
                view! {
                    <div class="flex flex-col gap-6">
                        <div class="panel flex flex-col gap-4 p-4">
                            {move || summary(&user.get())}
                            <div class="border-t border-base-300 pt-3"><Disable remote user /></div>
                        </div>
                        <Roles user=id.clone() />
                        <Factors user />
                        <section class="flex flex-col gap-3">
                            <h2 class="font-semibold">"Agents allowed"</h2>
                            <Grants path=Signal::stored(grants) />
                        </section>
                        <Sessions user=id />
                    </div>
                }
                    .into_any()
            })}
    }
}

fn summary(user: &User) -> AnyView {
    let names = directory();
    let connection = user.connection.clone();
    let link = format!("/connections/{connection}");
    // Of somebody whose password is kept here, no provider has anything to say.
    let vouched = names
        .connection_kind(&user.connection)
        .filter(|kind| *kind != ConnectionKind::Password)
        .map(|_| {
            (
                "Last vouched for by the provider",
                since_or_never(user.vouched_at),
            )
        });
    let mut rows = vec![
        ("Name", user.name.clone().map_or_else(dash, IntoAny::into_any)),
        (
            "E-mail",
            match (&user.email, user.email_verified) {
                (None, _) => dash(),
                (Some(email), true) => format!("{email} (verified by the provider)").into_any(),
                (Some(email), false) => format!("{email} (not verified)").into_any(),
            },
        ),
        (
            "State",
            if user.disabled {
                badge(Tone::Bad, "Disabled")
            } else {
                badge(Tone::Good, "Enabled")
            },
        ),
        (
            "Connection",
            view! { <a class="link" href=link>{move || names.connection(&connection)}</a> }.into_any(),
        ),
        (
            "Issuer",
            view! { <span class="key">{user.issuer.clone()}</span> }.into_any(),
        ),
        (
            "Subject",
            match user.subject.as_str() {
                "" => view! { <span class="muted">"Withheld"</span> }.into_any(),
                subject => copyable(subject.to_owned(), "subject"),
            },
        ),
        ("Groups", chips(user.groups.clone())),
        ("First sign-in", moment(user.created_at)),
        ("Last sign-in", since_or_never(user.last_login_at)),
    ];
    rows.extend(vouched);
    rows.push((
        "Activity",
        view! { <a class="link" href=format!("/audit?user={}", user.id)>"In the audit log"</a> }.into_any(),
    ));
    facts(rows)
}

#[component]
fn Disable(remote: Remote<User>, user: Signal<User>) -> impl IntoView {
    let (acts, toasts, names) = (acts(), toasts(), directory());
    let sending = Sending::new();
    let disabled = Signal::derive(move || user.with(|user| user.disabled));
    let done = move |saved: User| {
        remote.put(saved);
        names.users.reload();
    };
    let press = move |()| {
        let now = user.get_untracked();
        let body = json!({ "disabled": !now.disabled });
        let write = Write::patch(&format!("/users/{}", now.id), now.version, &body);
        if now.disabled {
            return acts.make(sending, write, move |saved: User| {
                toasts.done(format!("{} is enabled", person(&saved)));
                done(saved);
            });
        }
        let act = Act::counted(
            "Disable person",
            person(&now),
            "Their sessions end, every agent that acts for them is refused within seconds, and they cannot sign in until they are enabled again.",
        )
        .asks(format!("Disable {}?", person(&now)))
        .said("Person disabled")
        .word("disable");
        acts.ask(act, write, done);
    };
    view! {
        <Button blocked=me().gate(Need::Organisation) busy=sending.busy on_press=press>
            {move || if disabled.get() { "Enable person" } else { "Disable person" }}
        </Button>
    }
}

pub(crate) const ROLES: &[(Role, &str, &str)] = &[
    (Role::OrgOwner, "org_owner", "Organisation owner"),
    (Role::OrgAdmin, "org_admin", "Organisation admin"),
    (
        Role::OrgAuditor,
        "org_auditor",
        "Organisation auditor (reads only)",
    ),
    (Role::AccountAdmin, "account_admin", "Account admin"),
    (Role::AccountEditor, "account_editor", "Account editor"),
    (
        Role::AccountAuditor,
        "account_auditor",
        "Account auditor (reads only)",
    ),
];

pub(crate) fn role_name(role: Role) -> &'static str {
    ROLES
        .iter()
        .find(|(known, ..)| *known == role)
        .map_or("Role", |(.., name)| name)
}

/// What the person may do in this dashboard.
#[component]
fn Roles(user: UserId) -> impl IntoView {
    let client = client();
    let names = directory();
    let path = StoredValue::new(format!("/members?user={user}"));
    let members = Remote::new(move || async move { client.all::<Member>(&path.get_value()).await });
    let add = RwSignal::new(false);
    let mine = user.clone();
    view! {
        <section class="flex flex-col gap-3">
            <header class="flex flex-wrap items-end justify-between gap-3">
                <h2 class="font-semibold">"Roles"</h2>
                <Button blocked=me().gate(Need::Organisation) on_press=move |()| add.set(true)>"Add role"</Button>
            </header>
            {members
                .show(move |all| {
                    let own: Vec<_> = all.into_iter().filter(|member| member.user == mine).collect();
                    if own.is_empty() {
                        return view! { <p class="muted">"No role: this person uses apps and sees their own agents, and nothing of this dashboard."</p> }
                            .into_any();
                    }
                    let columns = vec![
                        column("Role", |m: &Member| role_name(m.role).into_any()),
                        column("Where", move |m: &Member| match m.account.clone() {
                            Some(account) => (move || names.account(&account)).into_any(),
                            None => "Organisation".into_any(),
                        }),
                        column("Since", |m: &Member| moment(m.created_at)),
                        column(ACTIONS, move |m: &Member| view! { <RemoveRole member=m.clone() members /> }.into_any()),
                    ];
                    table("Roles", columns, own)
                })}
            <AddRole open=add user members />
        </section>
    }
}

#[component]
fn RemoveRole(member: Member, members: Remote<Vec<Member>>) -> impl IntoView {
    let need = if member.role == Role::OrgOwner {
        Need::Owner
    } else {
        Need::Organisation
    };
    let path = StoredValue::new(format!("/members/{}", member.id));
    let act = Act::new(
        "Take away",
        role_name(member.role),
        "It takes effect at the person's next request.",
    )
    .said("Role taken away");
    view! { <ActButton act blocked=me().gate(need) on_done=move |_| members.reload() write=move || Write::delete(&path.get_value()) /> }
}

#[component]
fn AddRole(open: RwSignal<bool>, user: UserId, members: Remote<Vec<Member>>) -> impl IntoView {
    let client = client();
    let toasts = toasts();
    let user = StoredValue::new(user);
    view! {
        <Dialog open title="Add a role">
            {
                let role = RwSignal::new("org_auditor".to_owned());
                let account = RwSignal::new(String::new());
                let sending = Sending::new();
                let chosen = move || ROLES.iter().find(|(_, key, _)| *key == role.get()).map(|(role, ..)| *role);
                let send = move |event: leptos::ev::SubmitEvent| {
                    event.prevent_default();
                    let Some(role) = untrack(chosen) else { return };
                    let account = if role.is_account_role() { account.get_untracked().parse().ok() } else { None };
                    let body = NewMember { user: user.get_value(), account, role };
                    sending.run(async move { client.post::<Member>("/members", &body).await }, move |_| {
                        open.set(false);
                        toasts.done("Role added");
                        members.reload();
                    });
                };
                let lacks = lacking(Thing::Account);
                let blocked = Signal::derive(move || lacks.get().filter(|_| chosen().is_some_and(Role::is_account_role)));
                let options = ROLES.iter().map(|(_, key, name)| ((*key).to_owned(), (*name).to_owned())).collect::<Vec<_>>();
                view! {
                    <form class="flex flex-col gap-4" on:submit=send>
                        <Select label="Role" value=role options=Signal::stored(options) error=sending.at("/role") />
                        <Show when=move || chosen().is_some_and(Role::is_account_role)>
                            <Choice of=Thing::Account label="Account" value=account error=sending.at("/account") />
                        </Show>
                        <FormError sending />
                        <FormButtons open sending blocked>"Add role"</FormButtons>
                    </form>
                }
            }
        </Dialog>
    }
}

/// Where the person is signed in now.
#[component]
fn Sessions(user: UserId) -> impl IntoView {
    let client = client();
    let names = directory();
    let path = StoredValue::new(format!("/sessions?user={user}"));
    let sessions = Remote::new(move || async move { client.all::<BrowserSession>(&path.get_value()).await });
    view! {
        <section class="flex flex-col gap-3">
            <h2 class="font-semibold">"Browser sessions"</h2>
            {sessions
                .show(move |list| {
                    if list.is_empty() {
                        return view! { <p class="muted">"Not signed in anywhere."</p> }.into_any();
                    }
                    let columns = vec![
                        column("At", move |s: &BrowserSession| match s.app.clone() {
                            Some(app) => (move || names.app(&app)).into_any(),
                            None => "Chatelaine".into_any(),
                        }),
                        column("From", |s: &BrowserSession| {
                            s.ip.clone().map_or_else(dash, |ip| view! { <span class="key">{ip}</span> }.into_any())
                        }),
                        column("Browser", |s: &BrowserSession| {
                            let agent = s.user_agent.clone().unwrap_or_default();
                            view! { <span class="muted line-clamp-1 max-w-72" title=agent.clone()>{agent.clone()}</span> }.into_any()
                        }),
                        column("Began", |s: &BrowserSession| since(s.created_at)),
                        column("Ends", |s: &BrowserSession| moment(s.expires_at)),
                        column(ACTIONS, move |s: &BrowserSession| view! { <EndSession session=s.clone() sessions /> }.into_any()),
                    ];
                    table("Browser sessions", columns, list)
                })}
        </section>
    }
}

#[component]
fn EndSession(session: BrowserSession, sessions: Remote<Vec<BrowserSession>>) -> impl IntoView {
    let path = StoredValue::new(format!("/sessions/{}", session.id));
    let act = Act::counted(
        "End",
        "this session",
        "The browser has to sign in again. Agents that the person allowed go on.",
    )
    .said("Session ended")
    .word("end");
    view! { <ActButton act blocked=me().gate(Need::Organisation) on_done=move |_| sessions.reload() write=move || Write::delete(&path.get_value()) /> }
}

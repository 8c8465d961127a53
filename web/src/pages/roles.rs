//! Who administers what: members, invitations, and roles that follow from groups of an identity provider.

use super::person::{ROLES, role_name};
use crate::{
    choice::{Choice, Thing, lacking},
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{AccountId, CreatedInvitation, Invitation, InvitationState, Member, Role, RoleMapping};

/// The tab on the page of people.
#[component]
pub(crate) fn Roles() -> impl IntoView {
    let client = client();
    let members = Remote::new(move || async move { client.all::<Member>("/members").await });
    let invitations = Remote::new(move || async move { client.all::<Invitation>("/invitations").await });
    let mappings = Remote::new(move || async move { client.all::<RoleMapping>("/role-mappings").await });
    let (invite, map) = (RwSignal::new(false), RwSignal::new(false));
    let blocked = me().gate(Need::Organisation);
    view! {
        <div class="flex flex-col gap-8">
            <section class="flex flex-col gap-3">
                <header class="flex flex-wrap items-end justify-between gap-3">
                    <div>
                        <h2 class="font-semibold">"Members"</h2>
                        <p class="muted max-w-prose">"People who may use this dashboard. At least one owner with a local password always remains, so that nobody is locked out when the identity provider is down."</p>
                    </div>
                    <Button look=Look::Primary blocked on_press=move |()| invite.set(true)>"Invite"</Button>
                </header>
                {members.show(move |list| members_table(list, members))}
            </section>
            <section class="flex flex-col gap-3">
                <h2 class="font-semibold">"Invitations"</h2>
                {invitations.show(move |list| invitations_table(list, invitations))}
            </section>
            <section class="flex flex-col gap-3">
                <header class="flex flex-wrap items-end justify-between gap-3">
                    <div>
                        <h2 class="font-semibold">"Roles by group"</h2>
                        <p class="muted max-w-prose">"Whoever the identity provider puts into a group has the role, and loses it with the group at the next sign-in. Owners are always named one by one."</p>
                    </div>
                    <Button blocked on_press=move |()| map.set(true)>"New mapping"</Button>
                </header>
                {mappings.show(move |list| mappings_table(list, mappings))}
            </section>
        </div>
        <Dialog open=invite title="Invite somebody"><Invite open=invite invitations /></Dialog>
        <Dialog open=map title="New role by group"><Map open=map mappings /></Dialog>
    }
}

fn place(account: Option<AccountId>) -> AnyView {
    let names = directory();
    match account {
        Some(account) => (move || names.account(&account)).into_any(),
        None => "Organisation".into_any(),
    }
}

fn members_table(list: Vec<Member>, members: Remote<Vec<Member>>) -> AnyView {
    let columns = vec![
        column("Person", |m: &Member| {
            let name = m.email.clone().or_else(|| m.user_name.clone());
            let name = name.unwrap_or_else(|| m.user.to_string());
            view! { <a class="name-link inline-block py-1" href=format!("/people/{}", m.user)>{name}</a> }
                .into_any()
        })
        .sorted_by(|a, b| a.email.cmp(&b.email)),
        column("Role", |m: &Member| role_name(m.role).into_any()).sorted_by(|a, b| a.role.cmp(&b.role)),
        column("Where", |m: &Member| place(m.account.clone())),
        column("Since", |m: &Member| moment(m.created_at)),
        column(ACTIONS, move |m: &Member| {
            let need = if m.role == Role::OrgOwner {
                Need::Owner
            } else {
                Need::Organisation
            };
            let who = m.email.clone().or_else(|| m.user_name.clone());
            let who = who.unwrap_or_else(|| m.user.to_string());
            let act = Act::new(
                "Take away",
                role_name(m.role),
                format!("{who} has this role no longer from the next request on."),
            )
            .said("Role taken away");
            let path = format!("/members/{}", m.id);
            view! { <ActButton act blocked=me().gate(need) on_done=move |_| members.reload() write=move || Write::delete(&path) /> }
                .into_any()
        }),
    ];
    table("Members", columns, list)
}

fn invitations_table(list: Vec<Invitation>, invitations: Remote<Vec<Invitation>>) -> AnyView {
    if list.is_empty() {
        return view! { <p class="muted">"Nobody is invited."</p> }.into_any();
    }
    let columns = vec![
        column("E-mail", |i: &Invitation| invited(i).into_any()).sorted_by(|a, b| a.email.cmp(&b.email)),
        column("Role", |i: &Invitation| role_name(i.role).into_any()),
        column("Where", |i: &Invitation| place(i.account.clone())),
        column("State", |i: &Invitation| match i.state {
            InvitationState::Pending => badge(Tone::Careful, format!("Open until {}", local(i.expires_at))),
            InvitationState::Accepted => badge(Tone::Good, "Accepted"),
            InvitationState::Expired => badge(Tone::Neutral, "Expired"),
            InvitationState::Revoked => badge(Tone::Neutral, "Revoked"),
        }),
        column("Sent", |i: &Invitation| moment(i.sent_at)),
        column(ACTIONS, move |i: &Invitation| {
            view! { <InvitationActions invitation=i.clone() invitations /> }.into_any()
        }),
    ];
    table("Invitations", columns, list)
}

/// How to call an invitation: by its address, or where that is withheld, its identifier.
fn invited(invitation: &Invitation) -> String {
    match invitation.email.as_str() {
        "" => invitation.id.to_string(),
        email => email.to_owned(),
    }
}

#[component]
fn InvitationActions(invitation: Invitation, invitations: Remote<Vec<Invitation>>) -> impl IntoView {
    let (acts, sheet) = (acts(), sheet());
    let path = StoredValue::new(format!("/invitations/{}", invitation.id));
    let blocked = me().gate(Need::Organisation);
    let email = invited(&invitation);
    let resend = Act::new(
        "Send again",
        &email,
        "There is a new link; the one before no longer works.",
    )
    .said("Invitation renewed");
    let revoke = Act::new("Revoke", &email, "Its link no longer works.").said("Invitation revoked");
    let press = move |()| {
        acts.ask(
            resend.clone(),
            Write::post(&format!("{}/resend", path.get_value()), &json!({})),
            move |sent: CreatedInvitation| {
                sheet.show(shown_once(sent));
                invitations.reload();
            },
        );
    };
    let open = matches!(
        invitation.state,
        InvitationState::Pending | InvitationState::Expired
    );
    open.then(|| {
        view! {
            <span class="inline-flex gap-1">
                <Button look=Look::Quiet blocked label=format!("Send again {email}") on_press=press>"Send again"</Button>
                <ActButton act=revoke blocked on_done=move |_| invitations.reload() write=move || Write::delete(&path.get_value()) />
            </span>
        }
    })
}

/// The link of an invitation.
fn shown_once(made: CreatedInvitation) -> Once {
    let note = if made.mailed {
        "The invitation was sent by e-mail. This is the same link, in case it does not arrive."
    } else {
        "No mail is set up, so send them this link yourself."
    };
    let note = if made.record.local {
        format!("{note} {WITH_LINK}")
    } else {
        note.to_owned()
    };
    Once::new(
        format!("Invitation of {}", made.record.email),
        "Invitation link",
        made.url,
    )
    .note(note)
}

fn role_options() -> Signal<Vec<(String, String)>> {
    let all = ROLES
        .iter()
        .map(|(_, key, text)| ((*key).to_owned(), (*text).to_owned()));
    Signal::stored(all.collect())
}

/// Role and, for account roles, the account.
#[component]
fn RoleFields(role: RwSignal<String>, account: RwSignal<String>, sending: Sending) -> impl IntoView {
    view! {
        <Select label="Role" value=role options=role_options() error=sending.at("/role") />
        <Show when=move || role.get().starts_with("account_")>
            <Choice of=Thing::Account label="Account" value=account error=sending.at("/account") />
        </Show>
    }
}

fn chosen_account(role: RwSignal<String>, account: RwSignal<String>) -> Option<String> {
    role.get_untracked()
        .starts_with("account_")
        .then(|| account.get_untracked())
}

/// Why a role cannot be given: it is one in an account, and there is none.
fn lacking_account(role: RwSignal<String>) -> Signal<Option<String>> {
    let lacks = lacking(Thing::Account);
    Signal::derive(move || {
        lacks
            .get()
            .filter(|_| role.with(|role| role.starts_with("account_")))
    })
}

/// What is true of invitations with a local password.
const WITH_LINK: &str = "Nothing proves the address: whoever has the link chooses the password and gets the role. Let \
                         nobody else have it.";

#[component]
fn Invite(open: RwSignal<bool>, invitations: Remote<Vec<Invitation>>) -> impl IntoView {
    let email = RwSignal::new(String::new());
    let role = RwSignal::new("org_auditor".to_owned());
    let account = RwSignal::new(String::new());
    let local = RwSignal::new(false);
    let (sheet, sending) = (sheet(), Sending::new());
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let body = json!({
            "email": email.get_untracked().trim(),
            "role": role.get_untracked(),
            "account": chosen_account(role, account),
            "local": local.get_untracked(),
        });
        sending.write(
            Write::post("/invitations", &body),
            move |made: CreatedInvitation| {
                open.set(false);
                sheet.show(shown_once(made));
                invitations.reload();
            },
        );
    };
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            <TextField label="E-mail" value=email kind="email" required=true error=sending.at("/email") />
            <RoleFields role account sending />
            <Checkbox label="With a local password" hint="For break-glass owners: they set a password instead of signing in through a connection." value=local />
            <p class="muted" aria-live="polite">
                {move || if local.get() { WITH_LINK } else { "Only somebody who signs in with this verified address can accept." }}
            </p>
            <FormError sending />
            <FormButtons open sending blocked=lacking_account(role)>"Invite"</FormButtons>
        </form>
    }
}

fn mappings_table(list: Vec<RoleMapping>, mappings: Remote<Vec<RoleMapping>>) -> AnyView {
    if list.is_empty() {
        return view! { <p class="muted">"No role follows from a group."</p> }.into_any();
    }
    let names = directory();
    let columns = vec![
        column("Group", |m: &RoleMapping| {
            view! { <span class="font-semibold">{m.spec.group.clone()}</span> }.into_any()
        })
        .sorted_by(|a, b| a.spec.group.cmp(&b.spec.group)),
        column("Connection", move |m: &RoleMapping| {
            let connection = m.spec.connection.clone();
            (move || names.connection(&connection)).into_any()
        }),
        column("Role", |m: &RoleMapping| role_name(m.spec.role).into_any()),
        column("Where", |m: &RoleMapping| place(m.spec.account.clone())),
        column(ACTIONS, move |m: &RoleMapping| {
            let act = Act::new(
                "Delete",
                &m.spec.group,
                format!(
                    "People of this group lose the role “{}” at their next request.",
                    role_name(m.spec.role)
                ),
            )
            .said("Mapping deleted")
            .typed()
            .word("delete");
            let path = format!("/role-mappings/{}", m.id);
            let blocked = me().gate(Need::Organisation);
            view! { <ActButton act blocked on_done=move |_| mappings.reload() write=move || Write::delete(&path) /> }.into_any()
        }),
    ];
    table("Roles by group", columns, list)
}

#[component]
fn Map(open: RwSignal<bool>, mappings: Remote<Vec<RoleMapping>>) -> impl IntoView {
    let client = client();
    let toasts = toasts();
    let group = RwSignal::new(String::new());
    let connection = RwSignal::new(String::new());
    let role = RwSignal::new("account_editor".to_owned());
    let account = RwSignal::new(String::new());
    let sending = Sending::new();
    let (no_account, no_provider) = (lacking_account(role), lacking(Thing::Provider));
    let blocked = Signal::derive(move || no_provider.get().or_else(|| no_account.get()));
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let body = json!({
            "connection": connection.get_untracked(),
            "group": group.get_untracked().trim(),
            "role": role.get_untracked(),
            "account": chosen_account(role, account),
        });
        sending.run(
            async move { client.post::<RoleMapping>("/role-mappings", &body).await },
            move |_| {
                open.set(false);
                toasts.done("Mapping made");
                mappings.reload();
            },
        );
    };
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            <Choice of=Thing::Provider label="Connection" value=connection error=sending.at("/connection") />
            <TextField label="Group" value=group required=true hint="As the identity provider names it." error=sending.at("/group") />
            <RoleFields role account sending />
            <FormError sending />
            <FormButtons open sending blocked>"Create mapping"</FormButtons>
        </form>
    }
}

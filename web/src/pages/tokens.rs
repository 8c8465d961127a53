//! API tokens: credentials for automation, of a person or of an account.

use crate::{
    catalogue::others,
    client::{Write, client},
    labels::Labels,
    me::directory,
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{AccountId, ApiToken, CreatedApiToken, NewApiToken, Role, TokenScope};

/// The tab in the settings.
#[component]
pub(crate) fn Tokens() -> impl IntoView {
    let client = client();
    let tokens = Remote::new(move || async move { client.all::<ApiToken>("/api-tokens").await });
    let create = RwSignal::new(false);
    view! {
        <div class="flex flex-col gap-4">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <p class="muted max-w-prose">"Credentials for automation. A token acts with the roles of its owner, within its scopes; the audit log names it. A token of an account goes on when the person who made it leaves."</p>
                <Button look=Look::Primary on_press=move |()| create.set(true)>"New token"</Button>
            </div>
            {tokens.show(move |list| list_of(list, tokens))}
        </div>
        <Create open=create tokens />
    }
}

fn list_of(list: Vec<ApiToken>, tokens: Remote<Vec<ApiToken>>) -> AnyView {
    if list.is_empty() {
        return view! { <Empty text="There is no API token. Make one to use the API or the command line." /> }.into_any();
    }
    let names = directory();
    let columns = vec![
        column("Name", |t: &ApiToken| {
            view! { <span class="font-semibold">{t.spec.name.clone()}</span> }.into_any()
        })
        .sorted_by(|a, b| a.spec.name.cmp(&b.spec.name)),
        column("Begins with", |t: &ApiToken| {
            view! { <span class="key">{format!("{}…", t.prefix)}</span> }.into_any()
        }),
        column("Scopes", |t: &ApiToken| {
            chips(t.scopes.iter().map(|scope| scope_key(*scope).to_owned()))
        }),
        column("Owner", move |t: &ApiToken| {
            match (t.owner.clone(), t.account.clone()) {
                (Some(owner), _) => (move || names.user(&owner)).into_any(),
                (None, Some(account)) => (move || format!("Account {}", names.account(&account))).into_any(),
                (None, None) => dash(),
            }
        }),
        column("Addresses", |t: &ApiToken| match t.spec.allowed_ips.as_slice() {
            [] => "any".into_any(),
            some => chips(some.to_vec()),
        }),
        column("Last use", |t: &ApiToken| {
            let from = t.last_used_ip.clone();
            view! {
                {since_or_never(t.last_used_at)}
                {from.map(|ip| view! { <span class="muted block text-[0.8125rem]">{ip}</span> })}
            }
            .into_any()
        }),
        column("Ends", |t: &ApiToken| {
            t.spec.expires_at.map_or_else(|| "never".into_any(), moment)
        }),
        column(ACTIONS, move |t: &ApiToken| {
            view! { <Actions token=t.clone() tokens /> }.into_any()
        }),
    ];
    table("API tokens", columns, list)
}

const fn scope_key(scope: TokenScope) -> &'static str {
    match scope {
        TokenScope::Read => "read",
        TokenScope::Write => "write",
        TokenScope::Audit => "audit",
    }
}

#[component]
fn Actions(token: ApiToken, tokens: Remote<Vec<ApiToken>>) -> impl IntoView {
    let (acts, sheet) = (acts(), sheet());
    let path = StoredValue::new(format!("/api-tokens/{}", token.id));
    let name = token.spec.name;
    let used = match token.last_used_at {
        None => "It was never used.".to_owned(),
        Some(at) => format!("It was last used {}.", ago(at)),
    };
    let roll = Act::new(
        "Roll",
        &name,
        "It gets a new secret. The present one stays good for an hour, so that nothing stops.",
    )
    .said("API token rolled");
    let revoke = Act::new(
        "Revoke",
        &name,
        format!("What uses it is refused at once. {used}"),
    )
    .said("API token revoked")
    .typed();
    let press = move |()| {
        let body = json!({ "overlap_seconds": 3600 });
        acts.ask(
            roll.clone(),
            Write::post(&format!("{}/roll", path.get_value()), &body),
            move |rolled: CreatedApiToken| {
                let title = format!("New secret of {}", rolled.record.spec.name);
                sheet.show(Once::new(title, "API token", rolled.token));
                tokens.reload();
            },
        );
    };
    view! {
        <span class="inline-flex gap-1">
            <Button look=Look::Quiet label=format!("Roll {name}") on_press=press>"Roll"</Button>
            <ActButton act=revoke on_done=move |_| tokens.reload() write=move || Write::delete(&path.get_value()) />
        </span>
    }
}

#[component]
fn Create(open: RwSignal<bool>, tokens: Remote<Vec<ApiToken>>) -> impl IntoView {
    view! { <Dialog open title="New API token"><Form open tokens /></Dialog> }
}

/// What this form calls otherwise than others do.
const CALLED: Labels = &[("/account", "Owner"), ("/role", "What it may do there")];

#[component]
fn Form(open: RwSignal<bool>, tokens: Remote<Vec<ApiToken>>) -> impl IntoView {
    let names = directory();
    let name = RwSignal::new(String::new());
    let (read, write, audit) = (RwSignal::new(true), RwSignal::new(false), RwSignal::new(false));
    let days = RwSignal::new("90".to_owned());
    let account = RwSignal::new(String::new());
    let role = RwSignal::new("account_auditor".to_owned());
    let addresses = RwSignal::new(String::new());
    let (sheet, sending) = (sheet(), Sending::new().called(CALLED));
    // The same moment for each try: a repeated request is the same request.
    let began = now();
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let scopes = [
            (read, TokenScope::Read),
            (write, TokenScope::Write),
            (audit, TokenScope::Audit),
        ];
        let scopes = scopes.into_iter().filter(|(on, _)| on.get_untracked());
        let account: Option<AccountId> = account.get_untracked().parse().ok();
        let role = account.as_ref().map(|_| match role.get_untracked().as_str() {
            "account_admin" => Role::AccountAdmin,
            "account_editor" => Role::AccountEditor,
            _ => Role::AccountAuditor,
        });
        let days = days.get_untracked().parse::<i64>().ok();
        let body = NewApiToken {
            name: name.get_untracked().trim().to_owned(),
            scopes: scopes.map(|(_, scope)| scope).collect(),
            expires_at: days.map(|days| began.plus_seconds(days * 86_400)),
            allowed_ips: super::connections::words(&addresses.get_untracked()),
            account,
            role,
        };
        sending.write(Write::post("/api-tokens", &body), move |made: CreatedApiToken| {
            open.set(false);
            let title = format!("Secret of {}", made.record.spec.name);
            sheet.show(Once::new(title, "API token", made.token));
            tokens.reload();
        });
    };
    let ends = options(&[
        ("30", "After 30 days"),
        ("90", "After 90 days"),
        ("365", "After a year"),
        ("", "Never"),
    ]);
    let roles = options(&[
        ("account_auditor", "Reads the account, its audit log included"),
        ("account_editor", "Changes apps, policies and groups"),
        ("account_admin", "Changes everything in the account"),
    ]);
    let owners = names.account_options("Me: it acts with my roles");
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            <TextField label="Name" value=name required=true hint="What it is for, for example terraform." error=sending.at("/name") />
            <fieldset>
                <legend class="mb-1 font-medium">"Scopes"</legend>
                <Checkbox label="Read" hint="Everything the owner may read, except the audit log" value=read />
                <Checkbox label="Write" hint="Everything the owner may change" value=write />
                <Checkbox label="Audit" hint="Read and export the audit log" value=audit />
                <p class="text-error text-[0.8125rem] empty:hidden">{move || sending.at("/scopes").get()}</p>
            </fieldset>
            <Select label="Owner" value=account options=owners hint="A token of yours pauses when you have not signed in for long; one of an account does not depend on a person." error=sending.at("/account") />
            {others(names.accounts, "accounts")}
            <Show when=move || !account.get().is_empty()>
                <Select label="What it may do there" value=role options=roles error=sending.at("/role") />
            </Show>
            <TextField label="Only from these addresses" value=addresses hint="Networks such as 203.0.113.0/24; empty for any." error=sending.at("/allowed_ips") />
            <Select label="Ends" value=days options=ends error=sending.at("/expires_at") />
            <FormError sending />
            <FormButtons open sending>"Create token"</FormButtons>
        </form>
    }
}

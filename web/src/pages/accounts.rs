//! Accounts: the tenants of the organisation.

use crate::{
    client::client,
    me::{Need, directory, me},
    ui::*,
};
use leptos::prelude::*;
use wire::{Account, AccountSpec};

/// `/accounts`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let names = directory();
    let blocked = me().gate(Need::Organisation);
    let create = RwSignal::new(false);
    view! {
        <PageHead title="Accounts" text="An account owns apps and policies. People sign in to it through the connections that are bound to it.">
            <Button look=Look::Primary blocked on_press=move |()| create.set(true)>"New account"</Button>
        </PageHead>
        {names.accounts.show(move |accounts| list(accounts, create))}
        <Create open=create />
    }
}

fn list(accounts: Vec<Account>, create: RwSignal<bool>) -> AnyView {
    if accounts.is_empty() {
        return view! {
            <Empty text="There is no account yet. Make one for each tenant that owns apps." curl=curl("POST", "/accounts", r#"{"name":"Production"}"#)>
                <Button look=Look::Primary blocked=me().gate(Need::Organisation) on_press=move |()| create.set(true)>"New account"</Button>
            </Empty>
        }
        .into_any();
    }
    let columns = vec![
        column("Name", |a: &Account| {
            view! { <span class="font-semibold">{a.spec.name.clone()}</span> }.into_any()
        })
        .sorted_by(|a, b| a.spec.name.cmp(&b.spec.name)),
        column("State", |a: &Account| {
            if a.spec.enabled {
                badge(Tone::Good, "Enabled")
            } else {
                badge(Tone::Bad, "Disabled")
            }
        }),
        column("Shows", |a: &Account| {
            let id = a.id.to_string();
            view! {
                <span class="flex flex-wrap gap-3">
                    <a class="link py-1" href=format!("/apps?account={id}")>"Apps"</a>
                    <a class="link py-1" href=format!("/policies?account={id}")>"Policies"</a>
                    <a class="link py-1" href=format!("/audit?account={id}")>"Audit"</a>
                </span>
            }
            .into_any()
        }),
        column("Made", |a: &Account| moment(a.created_at)).sorted_by(|a, b| a.created_at.cmp(&b.created_at)),
        column("Identifier", |a: &Account| {
            copyable(a.id.to_string(), "account identifier")
        }),
        column(ACTIONS, |a: &Account| {
            view! { <Toggle account=a.clone() /> }.into_any()
        }),
    ];
    table("Accounts", columns, accounts)
}

/// Disables an account (after asking) or enables it again.
#[component]
fn Toggle(account: Account) -> impl IntoView {
    let client = client();
    let ask = RwSignal::new(false);
    let sending = Sending::new();
    let names = directory();
    let toasts = toasts();
    let enabled = account.spec.enabled;
    let name = account.spec.name.clone();
    let account = StoredValue::new(account);
    let flip = move |()| {
        let account = account.get_value();
        sending.run(
            async move {
                let body = serde_json::json!({ "enabled": !account.spec.enabled });
                client
                    .patch::<Account>(&format!("/accounts/{}", account.id), account.version, &body)
                    .await
            },
            move |account| {
                ask.set(false);
                toasts.done(format!(
                    "{} is {}",
                    account.spec.name,
                    if account.spec.enabled {
                        "enabled"
                    } else {
                        "disabled"
                    }
                ));
                names.accounts.reload();
            },
        );
    };
    let press = move |()| if enabled { ask.set(true) } else { flip(()) };
    view! {
        <Button look=Look::Quiet blocked=me().gate(Need::Organisation) busy=sending.busy on_press=press>
            {if enabled { "Disable" } else { "Enable" }}
        </Button>
        <Confirm
            open=ask
            title=format!("Disable {name}?")
            text="Nobody gets into any app of this account, neither people nor agents, until it is enabled again."
            action="Disable account"
            word=Signal::stored(name.clone())
            sending
            on_confirm=flip
        />
    }
}

#[component]
fn Create(open: RwSignal<bool>) -> impl IntoView {
    let client = client();
    let names = directory();
    let toasts = toasts();
    view! {
        <Dialog open title="New account">
            {
                let name = RwSignal::new(String::new());
                let sending = Sending::new();
                let send = move |event: leptos::ev::SubmitEvent| {
                    event.prevent_default();
                    sending.run(
                        async move {
                            let spec = AccountSpec { name: name.get_untracked().trim().to_owned(), enabled: true };
                            client.post::<Account>("/accounts", &spec).await
                        },
                        move |account| {
                            open.set(false);
                            toasts.done(format!("Account {} made", account.spec.name));
                            names.accounts.reload();
                        },
                    );
                };
                view! {
                    <form class="flex flex-col gap-4" on:submit=send>
                        <TextField label="Name" value=name required=true hint="Unique in the organisation, for example Production." error=sending.at("/name") />
                        <FormError sending />
                        <FormButtons open sending>"Create account"</FormButtons>
                    </form>
                }
            }
        </Dialog>
    }
}

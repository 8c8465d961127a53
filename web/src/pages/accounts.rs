//! Accounts: the tenants of the organisation.

use crate::{
    client::{Write, client, query},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use wire::{Account, AccountSpec, Page as ListPage};

/// `/accounts`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let (client, names) = (client(), directory());
    let params = ["q", "cursor"].map(|name| (name, url_param(name).0));
    let accounts = Remote::new(move || {
        // Whoever changes one has all of them read again.
        let known = names.accounts.ready().is_some();
        let filters = params.map(|(name, value)| (name, value.get()));
        let path = format!(
            "/accounts{}",
            query(filters.into_iter().chain([("limit", "200".to_owned())]))
        );
        async move {
            if !known {
                std::future::pending::<()>().await;
            }
            client.get::<ListPage<Account>>(&path).await
        }
    });
    let blocked = me().gate(Need::Organisation);
    let create = RwSignal::new(false);
    view! {
        <PageHead title="Accounts" text="An account owns apps and policies. People sign in to it through the connections that are bound to it.">
            <Button look=Look::Primary blocked on_press=move |()| create.set(true)>"New account"</Button>
        </PageHead>
        <div class="mb-4 flex flex-wrap gap-3"><FilterText label="Name" param="q" /></div>
        {accounts.show(move |page| {
            let found = !params[0].1.get_untracked().is_empty();
            view! { {list(page.items, found, create)} <Pager next=page.next /> }.into_any()
        })}
        <Create open=create />
    }
}

fn list(accounts: Vec<Account>, found: bool, create: RwSignal<bool>) -> AnyView {
    if accounts.is_empty() && found {
        return view! { <p class="muted">"No account has this name."</p> }.into_any();
    }
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
            identifier(a.id.to_string(), "account identifier")
        }),
        column(ACTIONS, |a: &Account| {
            view! { <Toggle account=a.clone() /> }.into_any()
        }),
    ];
    table("Accounts", columns, accounts)
}

/// Disables an account or enables it again, after asking.
#[component]
fn Toggle(account: Account) -> impl IntoView {
    let names = directory();
    let blocked = me().gate(Need::Organisation);
    let (label, said, text) = if account.spec.enabled {
        (
            "Disable",
            "Account disabled",
            "Nobody gets into any app of this account, neither people nor agents, until it is enabled again.",
        )
    } else {
        (
            "Enable",
            "Account enabled",
            "Its apps answer again, by the bindings and policies that it has.",
        )
    };
    let act = Act::counted(label, &account.spec.name, text).said(said);
    let act = if account.spec.enabled { act.typed() } else { act };
    let write = move || {
        let body = serde_json::json!({ "enabled": !account.spec.enabled });
        Write::patch(&format!("/accounts/{}", account.id), account.version, &body)
    };
    view! { <ActButton act blocked write on_done=move |_| names.accounts.reload() /> }
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

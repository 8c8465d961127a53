//! Where a connection is bound: one row for each account, how, and what can be done.

use crate::{
    catalogue::others,
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{Account, Binding, BindingMode, BindingState, Connection, Page as ListPage, Timestamp};

/// One row for each account: bound or not, how, and what can be done.
#[component]
pub(super) fn Bindings(connection: Signal<Connection>) -> impl IntoView {
    let client = client();
    let names = directory();
    let id = connection.get_untracked().id;
    let bindings = {
        let id = id.clone();
        Remote::new(move || {
            let path = format!("/bindings?connection={id}");
            async move { client.all::<Binding>(&path).await }
        })
    };
    let (acts, toasts) = (acts(), toasts());
    let id = StoredValue::new(id);
    let name = StoredValue::new(connection.get_untracked().spec.name);
    let bind = Callback::new(move |account: Option<Account>| {
        let to = account
            .as_ref()
            .map_or("all accounts", |account| &account.spec.name);
        let act = Act::counted(
            "Bind",
            name.get_value(),
            "Its people can sign in there from now on, and use what the policies allow them.",
        )
        .asks(format!("Bind {} to {to}?", name.get_value()));
        let accounts = account.as_ref().map(|account| vec![account.id.clone()]);
        let body = json!({ "connection": id.get_value(), "accounts": accounts });
        acts.ask(
            act,
            Write::post("/bindings", &body),
            move |made: ListPage<Binding>| {
                let n = made.items.len();
                toasts.done(if n == 1 {
                    "Bound to one account".into()
                } else {
                    format!("Bound to {n} accounts")
                });
                bindings.reload();
            },
        );
    });
    let blocked = me().gate(Need::Organisation);
    let unbound = move || {
        let bound: Vec<_> = bindings
            .ready()?
            .into_iter()
            .filter(|b| b.spec.state != BindingState::Detached)
            .map(|b| b.account)
            .collect();
        let all = names.accounts.ready()?;
        // Whether one that is not listed is bound is not known.
        Some(names.accounts.more() || all.iter().any(|a| !bound.contains(&a.id)))
    };
    view! {
        <section class="flex flex-col gap-3">
            <header class="flex flex-wrap items-end justify-between gap-3">
                <div>
                    <h2 class="font-semibold">"Accounts"</h2>
                    <p class="muted max-w-prose">"Where people can sign in through this connection. Exclusive: no other connection signs anybody in to that account."</p>
                </div>
                <Show when=move || unbound() == Some(true)>
                    <Button blocked on_press=move |()| bind.run(None)>"Bind to all accounts"</Button>
                </Show>
            </header>
            {others(names.accounts, "accounts")}
            {bindings.show(move |bindings_now| {
                let shown = move || {
                    let accounts = names.accounts.ready().unwrap_or_default();
                    matrix(accounts, bindings_now.clone(), bind, bindings)
                };
                shown.into_any()
            })}
        </section>
    }
}

type Row = (Account, Option<Binding>);

fn matrix(
    accounts: Vec<Account>,
    bindings: Vec<Binding>,
    bind: Callback<Option<Account>>,
    all: Remote<Vec<Binding>>,
) -> AnyView {
    let rows: Vec<Row> = accounts
        .into_iter()
        .map(|account| {
            let binding = bindings
                .iter()
                .find(|b| b.account == account.id && b.spec.state != BindingState::Detached);
            let binding = binding.cloned();
            (account, binding)
        })
        .collect();
    if rows.is_empty() {
        return view! { <Empty text="There is no account to bind it to yet."><a class="btn btn-sm" href="/accounts">"To the accounts"</a></Empty> }.into_any();
    }
    let columns = vec![
        column("Account", |(account, _): &Row| {
            view! { <span class="font-semibold">{account.spec.name.clone()}</span> }.into_any()
        }),
        column("Binding", |(_, binding): &Row| match binding {
            None => badge(Tone::Neutral, "Not bound"),
            Some(b) if b.spec.state == BindingState::Draining => {
                let until = b.spec.drain_until.map(local).unwrap_or_default();
                badge(Tone::Careful, format!("Draining until {until}"))
            }
            Some(_) => badge(Tone::Good, "Bound"),
        }),
        column("Mode", |(_, binding): &Row| {
            match binding.as_ref().map(|b| b.spec.mode) {
                None => dash(),
                Some(BindingMode::Allowed) => "Allowed".into_any(),
                Some(BindingMode::Exclusive) => "Exclusive".into_any(),
            }
        }),
        column("Since", |(_, binding): &Row| {
            binding.as_ref().map_or_else(dash, |b| moment(b.created_at))
        }),
        column(ACTIONS, move |(account, binding): &Row| {
            view! { <RowActions account=account.clone() binding=binding.clone() bind all /> }.into_any()
        }),
    ];
    table("Accounts of this connection", columns, rows)
}

#[component]
fn RowActions(
    account: Account,
    binding: Option<Binding>,
    bind: Callback<Option<Account>>,
    all: Remote<Vec<Binding>>,
) -> impl IntoView {
    let acts = acts();
    let blocked = me().gate(Need::Organisation);
    let name = account.spec.name.clone();
    let Some(binding) = binding else {
        return view! { <Button look=Look::Quiet blocked label=format!("Bind to {name}") on_press=move |()| bind.run(Some(account.clone()))>"Bind"</Button> }.into_any();
    };
    let draining = binding.spec.state == BindingState::Draining;
    let is_exclusive = binding.spec.mode == BindingMode::Exclusive;
    let stored = StoredValue::new((format!("/bindings/{}", binding.id), binding.version));
    let ask = move |act: Act, body: serde_json::Value| {
        let (path, version) = stored.get_value();
        let write = Write::patch(&path, version, &body);
        acts.ask(act, write, move |_: Binding| all.reload());
    };
    let of = StoredValue::new(name.clone());
    let act = move |label: &'static str, text: &'static str, said: &'static str| {
        Act::counted(label, of.get_value(), text).said(said)
    };
    let exclude = move |()| {
        let act = act(
            "Make exclusive",
            "Every other connection stops to sign people in to this account, and their sessions and grants here stop, until you take it back.",
            "Only this connection signs people in now",
        );
        ask(
            act.asks(format!("Only this connection in {}?", of.get_value())),
            json!({ "mode": "exclusive" }),
        );
    };
    let allow = move |()| {
        let act = act(
            "Make allowed",
            "The other connections of this account sign people in again.",
            "Other connections may sign people in, too",
        );
        ask(
            act.asks(format!("Other connections in {}, too?", of.get_value())),
            json!({ "mode": "allowed" }),
        );
    };
    let drain = move |()| {
        let act = act(
            "Start draining",
            "First it drains for seven days: nobody new signs in, sessions and grants run on. You can turn it back until then, or detach at once afterwards.",
            "Draining: no new sign-ins, what runs may run out",
        );
        ask(
            act.asks(format!("Detach from {}?", of.get_value())),
            json!({ "state": "draining", "drain_until": in_a_week() }),
        );
    };
    let turn_back = move |()| {
        let act = act("Turn back", "People sign in through it as before.", "Bound again");
        ask(
            act.asks(format!("Bind to {} again?", of.get_value())),
            json!({ "state": "active", "drain_until": null }),
        );
    };
    let detach = move |()| {
        let act = act(
            "Detach now",
            "Sessions and grants of people who came through it end now. This cannot be taken back: binding it again does not bring them back.",
            "Detached",
        );
        ask(
            act.asks(format!("Detach from {} at once?", of.get_value())),
            json!({ "state": "detached" }),
        );
    };
    view! {
        <span class="flex flex-wrap justify-end gap-1">
            {if draining {
                view! {
                    <Button look=Look::Quiet blocked label=format!("Turn back the draining of {name}") on_press=turn_back>"Turn back"</Button>
                    <Button look=Look::Quiet blocked label=format!("Detach now from {name}") on_press=detach>"Detach now"</Button>
                }.into_any()
            } else if is_exclusive {
                view! {
                    <Button look=Look::Quiet blocked label=format!("Make allowed in {name}") on_press=allow>"Make allowed"</Button>
                    <Button look=Look::Quiet blocked label=format!("Detach from {name}") on_press=drain>"Detach"</Button>
                }.into_any()
            } else {
                view! {
                    <Button look=Look::Quiet blocked label=format!("Make exclusive in {name}") on_press=exclude>"Make exclusive"</Button>
                    <Button look=Look::Quiet blocked label=format!("Detach from {name}") on_press=drain>"Detach"</Button>
                }.into_any()
            }}
        </span>
    }
    .into_any()
}

/// When draining that begins now ends.
fn in_a_week() -> Timestamp {
    now().plus_seconds(7 * 86_400)
}

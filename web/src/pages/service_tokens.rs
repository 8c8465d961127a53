//! Service tokens: machines that come to apps without a person.

use crate::{
    choice::{Choice, Thing, lacking},
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{ServiceToken, ServiceTokenWarning, ServiceTokenWithSecret};

/// `/service-tokens`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let tokens = Remote::new(move || async move { client.all::<ServiceToken>("/service-tokens").await });
    let create = RwSignal::new(false);
    let blocked = me().gate(Need::EditSomewhere);
    view! {
        <PageHead title="Service tokens" text="Machines that come to an app without a person: a build server, a monitor. They get through where a policy with the decision “service auth” names them.">
            <Button look=Look::Primary blocked on_press=move |()| create.set(true)>"New service token"</Button>
        </PageHead>
        {tokens.show(move |list| list_of(list, tokens))}
        <Create open=create tokens />
    }
}

fn list_of(list: Vec<ServiceToken>, tokens: Remote<Vec<ServiceToken>>) -> AnyView {
    if list.is_empty() {
        let body = r#"{"account":"acc_…","name":"build server"}"#;
        return view! { <Empty text="There is no service token yet." curl=curl("POST", "/service-tokens", body) /> }.into_any();
    }
    let names = directory();
    let columns = vec![
        column("Name", |t: &ServiceToken| {
            view! {
                <span class="font-semibold">{t.spec.name.clone()}</span>
                {identifier(t.id.to_string(), "client id")}
            }
            .into_any()
        })
        .sorted_by(|a, b| a.spec.name.cmp(&b.spec.name)),
        column("Account", move |t: &ServiceToken| {
            let account = t.account.clone();
            (move || names.account(&account)).into_any()
        }),
        column("State", state),
        column("Last use", move |t: &ServiceToken| {
            let app = t.last_used_app.clone();
            view! {
                {since_or_never(t.last_used_at)}
                {app.map(|app| view! { <span class="muted block text-[0.8125rem]">{move || names.app(&app)}</span> })}
            }
            .into_any()
        }),
        column("Ends", |t: &ServiceToken| {
            t.spec.expires_at.map_or_else(|| "never".into_any(), moment)
        }),
        column("Secret since", |t: &ServiceToken| {
            let previous = t.previous_valid_until;
            view! {
                {moment(t.rotated_at)}
                {previous.map(|until| view! { <span class="muted block text-[0.8125rem]">"the one before until " {local(until)}</span> })}
            }
            .into_any()
        }),
        column(ACTIONS, move |t: &ServiceToken| {
            view! { <Actions token=t.clone() tokens /> }.into_any()
        }),
    ];
    table("Service tokens", columns, list)
}

fn state(token: &ServiceToken) -> AnyView {
    if !token.spec.enabled {
        return badge(Tone::Neutral, "Disabled");
    }
    match token.warnings.first() {
        Some(ServiceTokenWarning::Expired) => badge(Tone::Bad, "Expired"),
        Some(ServiceTokenWarning::ExpiresSoon) => badge(Tone::Careful, "Expires soon"),
        Some(ServiceTokenWarning::NeverExpires) => badge(Tone::Careful, "Never expires"),
        None => badge(Tone::Good, "Enabled"),
    }
}

#[component]
fn Actions(token: ServiceToken, tokens: Remote<Vec<ServiceToken>>) -> impl IntoView {
    let (acts, sheet) = (acts(), sheet());
    let path = StoredValue::new(format!("/service-tokens/{}", token.id));
    let blocked = me().gate(Need::Edit(token.account.clone()));
    let name = token.spec.name.clone();
    let (version, enabled) = (token.version, token.spec.enabled);
    let used = match token.last_used_at {
        None => "It was never used.".to_owned(),
        Some(at) => format!("It was last used {}.", ago(at)),
    };
    let set = move |enabled: bool| Write::patch(&path.get_value(), version, &json!({ "enabled": enabled }));
    let reload = move |_: serde_json::Value| tokens.reload();
    let enabling = Sending::new();
    let enable = move |()| acts.make(enabling, set(true), reload);
    let disable = Act::new(
        "Disable",
        &name,
        format!("What uses it is refused within seconds, until it is enabled again. {used}"),
    )
    .said("Service token disabled");
    let rotate = Act::new(
        "Rotate",
        &name,
        "It gets a new secret. The present one stays good for a day, so that nothing stops.",
    )
    .said("Service token rotated");
    let delete = Act::new(
        "Delete",
        &name,
        format!("What uses it is refused within seconds. Policies that name it no longer match it. {used}"),
    )
    .said("Service token deleted")
    .typed();
    let press = move |()| {
        acts.ask(
            rotate.clone(),
            Write::post(&format!("{}/rotate", path.get_value()), &json!({})),
            move |rotated: ServiceTokenWithSecret| {
                sheet.show(shown_once("New secret of", rotated));
                tokens.reload();
            },
        );
    };
    view! {
        <span class="inline-flex gap-1">
            {if enabled {
                view! { <ActButton act=disable blocked on_done=reload write=move || set(false) /> }.into_any()
            } else {
                view! { <Button look=Look::Quiet blocked busy=enabling.busy label=format!("Enable {name}") on_press=enable>"Enable"</Button> }.into_any()
            }}
            <Button look=Look::Quiet blocked label=format!("Rotate {name}") on_press=press>"Rotate"</Button>
            <ActButton act=delete blocked on_done=reload write=move || Write::delete(&path.get_value()) />
        </span>
    }
}

/// The secret of a token, as it is shown after it was made or rotated.
fn shown_once(what: &str, made: ServiceTokenWithSecret) -> Once {
    let id = made.record.id.to_string();
    let example = format!(
        "curl https://app.example.com/ \\\n  -H 'Chatelaine-Client-Id: {id}' \\\n  -H \"Chatelaine-Client-Secret: $SECRET\""
    );
    Once::new(
        format!("{what} {}", made.record.spec.name),
        "Client secret",
        made.client_secret,
    )
    .beside("Client id", id)
    .example(example)
}

#[component]
fn Create(open: RwSignal<bool>, tokens: Remote<Vec<ServiceToken>>) -> impl IntoView {
    view! { <Dialog open title="New service token"><Form open tokens /></Dialog> }
}

#[component]
fn Form(open: RwSignal<bool>, tokens: Remote<Vec<ServiceToken>>) -> impl IntoView {
    let name = RwSignal::new(String::new());
    let account = RwSignal::new(String::new());
    let days = RwSignal::new("365".to_owned());
    let (sheet, sending) = (sheet(), Sending::new());
    // The same moment for each try: a repeated request is the same request.
    let began = now();
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let days = days.get_untracked().parse::<i64>().ok();
        let body = json!({
            "account": account.get_untracked(),
            "name": name.get_untracked().trim(),
            "expires_at": days.map(|days| began.plus_seconds(days * 86_400)),
        });
        sending.write(
            Write::post("/service-tokens", &body),
            move |made: ServiceTokenWithSecret| {
                open.set(false);
                sheet.show(shown_once("Secret of", made));
                tokens.reload();
            },
        );
    };
    let ends = options(&[
        ("30", "After 30 days"),
        ("90", "After 90 days"),
        ("365", "After a year"),
        ("", "Never"),
    ]);
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            <TextField label="Name" value=name required=true hint="The machine or job that uses it." error=sending.at("/name") />
            <Choice of=Thing::Account label="Account" value=account hint="It is good for apps of this account only." error=sending.at("/account") />
            <Select label="Ends" value=days options=ends error=sending.at("/expires_at") />
            <FormError sending />
            <FormButtons open sending blocked=lacking(Thing::Account)>"Create service token"</FormButtons>
        </form>
    }
}

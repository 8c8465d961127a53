//! Service tokens: machines that come to apps without a person.

use crate::{
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
                <span class="block">{copyable(t.id.to_string(), "client id")}</span>
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
    let client = client();
    let path = StoredValue::new(format!("/service-tokens/{}", token.id));
    let blocked = me().gate(Need::Edit(token.account.clone()));
    let secret = RwSignal::new(None::<String>);
    let shown = RwSignal::new(false);
    let (version, enabled) = (token.version, token.spec.enabled);
    let flipping = Sending::new();
    let flip = move |()| {
        let write = Write::patch(&path.get_value(), version, &json!({ "enabled": !enabled }));
        flipping.run(
            async move { client.write::<serde_json::Value>(write).await },
            move |_| tokens.reload(),
        );
    };
    let rotate = Act {
        label: "Rotate",
        name: token.spec.name.clone(),
        text: "It gets a new secret. The present one stays good for a day, so that nothing stops.",
        said: "Service token rotated",
        typed: false,
    };
    let delete = Act {
        label: "Delete",
        name: token.spec.name.clone(),
        text: "What uses it is refused within seconds. Policies that name it no longer match it.",
        said: "Service token deleted",
        typed: true,
    };
    let on_rotated = move |answer: serde_json::Value| {
        secret.set(answer["client_secret"].as_str().map(ToOwned::to_owned));
        shown.set(true);
        tokens.reload();
    };
    let word = if enabled { "Disable" } else { "Enable" };
    view! {
        <span class="inline-flex gap-1">
            <Button look=Look::Quiet blocked busy=flipping.busy label=format!("{word} {}", token.spec.name) on_press=flip>{word}</Button>
            <ActButton act=rotate blocked on_done=on_rotated
                write=move |()| Some(Write::post(&format!("{}/rotate", path.get_value()), &json!({}))) />
            <ActButton act=delete blocked on_done=move |_| tokens.reload() write=move |()| Some(Write::delete(&path.get_value())) />
        </span>
        <Dialog open=shown title="The new secret">
            {move || secret.get().map(|secret| view! { <SecretOnce secret label="Client secret" /> })}
        </Dialog>
    }
}

#[component]
fn Create(open: RwSignal<bool>, tokens: Remote<Vec<ServiceToken>>) -> impl IntoView {
    view! { <Dialog open title="New service token"><Form open tokens /></Dialog> }
}

#[component]
fn Form(open: RwSignal<bool>, tokens: Remote<Vec<ServiceToken>>) -> impl IntoView {
    let client = client();
    let names = directory();
    let name = RwSignal::new(String::new());
    let first = names
        .accounts
        .now()
        .and_then(|list| list.first().map(|a| a.id.to_string()));
    let account = RwSignal::new(first.unwrap_or_default());
    let days = RwSignal::new("365".to_owned());
    let made = RwSignal::new(None::<ServiceTokenWithSecret>);
    let sending = Sending::new();
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let days = days.get_untracked().parse::<i64>().ok();
        let body = json!({
            "account": account.get_untracked(),
            "name": name.get_untracked().trim(),
            "expires_at": days.map(|days| now().plus_seconds(days * 86_400)),
        });
        sending.run(
            async move {
                client
                    .post::<ServiceTokenWithSecret>("/service-tokens", &body)
                    .await
            },
            move |created| {
                made.set(Some(created));
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
    move || {
        match made.get() {
        Some(made) => {
            let example = format!(
                "curl https://app.example.com/ \\\n  -H 'Chatelaine-Client-Id: {}' \\\n  -H \"Chatelaine-Client-Secret: $SECRET\"",
                made.record.id
            );
            view! {
                <div class="flex flex-col gap-4">
                    <div><p class="font-medium">"Client id"</p>{copyable(made.record.id.to_string(), "client id")}</div>
                    <SecretOnce secret=made.client_secret label="Client secret" />
                    <CodeBlock text=Signal::stored(example) label="Example" />
                    <div class="flex justify-end"><Button look=Look::Primary on_press=move |()| open.set(false)>"Done"</Button></div>
                </div>
            }
            .into_any()
        }
        None => view! {
            <form class="flex flex-col gap-4" on:submit=send>
                <TextField label="Name" value=name required=true hint="The machine or job that uses it." error=sending.at("/name") />
                <Select label="Account" value=account options=names.account_options(None) hint="It is good for apps of this account only." error=sending.at("/account") />
                <Select label="Ends" value=days options=ends error=sending.at("/expires_at") />
                <FormError sending />
                <FormButtons open sending>"Create service token"</FormButtons>
            </form>
        }
        .into_any(),
    }
    }
}

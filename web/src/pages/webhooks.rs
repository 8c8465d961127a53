//! Webhooks: events of the audit log, sent to a URL as they happen.

use crate::{
    catalogue::others,
    client::{Write, client},
    labels::Labels,
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{DeliveryState, Page as ListPage, Webhook, WebhookDelivery, WebhookId, WebhookWithSecret};

/// The tab in the settings.
#[component]
pub(crate) fn Webhooks() -> impl IntoView {
    let client = client();
    let hooks = Remote::new(move || async move { client.all::<Webhook>("/webhooks").await });
    let create = RwSignal::new(false);
    let log = RwSignal::new(None);
    view! {
        <div class="flex flex-col gap-4">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <p class="muted max-w-prose">"Events of the audit log, sent to a URL as they happen, signed in the form of Standard Webhooks, and tried again for two days when nobody answers."</p>
                <Button look=Look::Primary blocked=me().gate(Need::Organisation) on_press=move |()| create.set(true)>"New webhook"</Button>
            </div>
            {hooks.show(move |list| list_of(list, hooks, log))}
        </div>
        <Log of=log />
        <Create open=create hooks />
    }
}

fn list_of(list: Vec<Webhook>, hooks: Remote<Vec<Webhook>>, log: RwSignal<Option<Webhook>>) -> AnyView {
    if list.is_empty() {
        let body =
            r#"{"name":"SIEM","url":"https://siem.example.com/hook","events":["binding.","connection."]}"#;
        return view! { <Empty text="There is no webhook yet." curl=curl("POST", "/webhooks", body) /> }
            .into_any();
    }
    let names = directory();
    let columns = vec![
        column("Name", |w: &Webhook| {
            view! {
                <span class="font-semibold">{w.spec.name.clone()}</span>
                <span class="key block break-all">{w.spec.url.clone()}</span>
            }
            .into_any()
        })
        .sorted_by(|a, b| a.spec.name.cmp(&b.spec.name)),
        column("Events", |w: &Webhook| chips(w.spec.events.clone())),
        column("Of", move |w: &Webhook| match w.account.clone() {
            Some(account) => (move || names.account(&account)).into_any(),
            None => "Organisation".into_any(),
        }),
        column("State", |w: &Webhook| match (w.spec.enabled, w.failing_since) {
            (false, _) => {
                let why = w.disabled_reason.clone();
                badge(
                    Tone::Neutral,
                    why.map_or_else(|| "Disabled".to_owned(), |why| format!("Disabled: {why}")),
                )
            }
            (true, Some(since)) => badge(Tone::Bad, format!("Fails since {}", local(since))),
            (true, None) => badge(Tone::Good, "Enabled"),
        }),
        column("Last delivery", |w: &Webhook| since_or_never(w.last_success_at)),
        column(ACTIONS, move |w: &Webhook| {
            view! { <Actions hook=w.clone() hooks log /> }.into_any()
        }),
    ];
    table("Webhooks", columns, list)
}

#[component]
fn Actions(hook: Webhook, hooks: Remote<Vec<Webhook>>, log: RwSignal<Option<Webhook>>) -> impl IntoView {
    let (acts, sheet, toasts) = (acts(), sheet(), toasts());
    let blocked = gate(&hook);
    let path = StoredValue::new(format!("/webhooks/{}", hook.id));
    let name = hook.spec.name.clone();
    let testing = Sending::new();
    let test = move |()| {
        let write = Write::post(&format!("{}/test", path.get_value()), &json!({}));
        acts.make(testing, write, move |delivery: WebhookDelivery| {
            match (delivery.state, delivery.status) {
                (DeliveryState::Succeeded, Some(status)) => {
                    toasts.done(format!("The test event was taken ({status})"));
                }
                (_, Some(status)) => toasts.error(format!("The test event was refused ({status})")),
                (_, None) => toasts.error(delivery.error.unwrap_or_else(|| "Nobody answered".into())),
            }
        });
    };
    let rotate = Act::new(
        "Rotate secret",
        &name,
        "Requests are signed with both secrets for a day, so that nothing is refused.",
    )
    .said("Secret rotated");
    let delete = Act::new(
        "Delete",
        &name,
        "Nothing is sent there any more, and its delivery log goes.",
    )
    .said("Webhook deleted")
    .typed();
    let press = move |()| {
        acts.ask(
            rotate.clone(),
            Write::post(&format!("{}/rotate-secret", path.get_value()), &json!({})),
            move |rotated: WebhookWithSecret| {
                sheet.show(shown_once("New secret of", rotated));
                hooks.reload();
            },
        );
    };
    view! {
        <span class="inline-flex flex-wrap justify-end gap-1">
            <Button look=Look::Quiet label=format!("Deliveries of {name}") on_press=move |()| log.set(Some(hook.clone()))>"Deliveries"</Button>
            <Button look=Look::Quiet blocked busy=testing.busy label=format!("Test {name}") on_press=test>"Test"</Button>
            <Button look=Look::Quiet blocked label=format!("Rotate secret {name}") on_press=press>"Rotate secret"</Button>
            <ActButton act=delete blocked on_done=move |_| hooks.reload() write=move || Write::delete(&path.get_value()) />
        </span>
    }
}

fn gate(hook: &Webhook) -> Signal<Option<String>> {
    match hook.account.clone() {
        Some(account) => me().gate(Need::Edit(account)),
        None => me().gate(Need::Organisation),
    }
}

/// The secret of a webhook, as it is shown after it was made or rotated.
fn shown_once(what: &str, made: WebhookWithSecret) -> Once {
    Once::new(
        format!("{what} {}", made.record.spec.name),
        "Signing secret",
        made.secret,
    )
    .note("The receiver verifies signatures with it, in the form of Standard Webhooks.")
}

/// What was sent to one webhook. Not owned by its row, which is made anew whenever the list is.
#[component]
fn Log(of: RwSignal<Option<Webhook>>) -> impl IntoView {
    let open = open_for(of);
    let title = move || {
        of.with(|hook| {
            hook.as_ref()
                .map(|hook| format!("Deliveries of {}", hook.spec.name))
        })
    };
    view! {
        <Dialog open side=true title=Signal::derive(move || title().unwrap_or_default())>
            {move || of.get().map(|hook| view! { <Deliveries blocked=gate(&hook) id=hook.id /> })}
        </Dialog>
    }
}

#[component]
fn Deliveries(id: WebhookId, blocked: Signal<Option<String>>) -> impl IntoView {
    let client = client();
    let path = StoredValue::new(format!("/webhooks/{id}/deliveries"));
    let all = Remote::new(move || {
        let path = format!("{}?limit=50", path.get_value());
        async move { client.get::<ListPage<WebhookDelivery>>(&path).await }
    });
    all.show(move |page| {
        if page.items.is_empty() {
            return view! { <p class="muted">"Nothing was sent yet."</p> }.into_any();
        }
        let columns = vec![
            column("Event", |d: &WebhookDelivery| {
                view! { <a class="link" href=format!("/audit?event={}", d.event)>{d.action.clone()}</a> }.into_any()
            }),
            column("State", |d: &WebhookDelivery| {
                let what = d.status.map(|s| format!(" ({s})")).or_else(|| d.error.clone().map(|e| format!(": {e}")));
                let what = what.unwrap_or_default();
                match d.state {
                    DeliveryState::Succeeded => badge(Tone::Good, format!("Taken{what}")),
                    DeliveryState::Pending => badge(Tone::Neutral, "Waits"),
                    DeliveryState::Failed => badge(Tone::Careful, format!("Tried {} times{what}", d.attempts)),
                    DeliveryState::Exhausted => badge(Tone::Bad, format!("Given up{what}")),
                }
            }),
            column("When", |d: &WebhookDelivery| moment(d.created_at)),
            column(ACTIONS, move |d: &WebhookDelivery| {
                let path = StoredValue::new(format!("{}/{}/replay", path.get_value(), d.id));
                let act = Act::new(
                    "Send again",
                    &d.action,
                    "The same event is sent once more, with the same id.",
                )
                .said("On its way");
                view! {
                    <ActButton act blocked on_done=move |_| all.reload() write=move || Write::post(&path.get_value(), &json!({})) />
                }
                .into_any()
            }),
        ];
        table("Deliveries", columns, page.items)
    })
}

#[component]
fn Create(open: RwSignal<bool>, hooks: Remote<Vec<Webhook>>) -> impl IntoView {
    view! { <Dialog open title="New webhook"><Form open hooks /></Dialog> }
}

/// What this form calls otherwise than others do.
const CALLED: Labels = &[
    ("/account", "Of"),
    ("/allow_internal", "The receiver is on an internal address"),
];

#[component]
fn Form(open: RwSignal<bool>, hooks: Remote<Vec<Webhook>>) -> impl IntoView {
    let names = directory();
    let (name, url) = (RwSignal::new(String::new()), RwSignal::new(String::new()));
    let events = RwSignal::new("binding. connection. service_token. login.failure".to_owned());
    let account = RwSignal::new(String::new());
    let internal = RwSignal::new(false);
    let (sheet, sending) = (sheet(), Sending::new().called(CALLED));
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let account = account.get_untracked();
        let body = json!({
            "name": name.get_untracked().trim(),
            "url": url.get_untracked().trim(),
            "events": super::connections::words(&events.get_untracked()),
            "account": Some(account).filter(|id| !id.is_empty()),
            "allow_internal": internal.get_untracked(),
        });
        sending.write(Write::post("/webhooks", &body), move |made: WebhookWithSecret| {
            open.set(false);
            sheet.show(shown_once("Secret of", made));
            hooks.reload();
        });
    };
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            <TextField label="Name" value=name required=true error=sending.at("/name") />
            <TextField label="URL" value=url kind="url" required=true placeholder="https://siem.example.com/hook" error=sending.at("/url") />
            <TextField label="Events" value=events hint="Actions of the audit log, or beginnings that end in a dot; requests at the gateway only if asked for as gateway.request." error=sending.at("/events") />
            <Select label="Of" value=account options=names.account_options("The whole organisation") error=sending.at("/account") />
            {others(names.accounts, "accounts")}
            <Checkbox label="The receiver is on an internal address" value=internal />
            <FormError sending />
            <FormButtons open sending>"Create webhook"</FormButtons>
        </form>
    }
}

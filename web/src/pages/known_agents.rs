//! The catalogue of agents, and what the organisation decided about their metadata documents in its place.

use crate::{
    client::{Write, client},
    me::{Need, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{AgentDocument, DocumentDecision, KnownAgent};

/// The tab on the page of agents.
#[component]
pub(crate) fn KnownAgents() -> impl IntoView {
    let client = client();
    let changes = RwSignal::new(0_u32);
    let known = Remote::new(move || {
        changes.track();
        async move { client.all::<KnownAgent>("/known-agents").await }
    });
    let done = move || changes.update(|n| *n += 1);
    let decides = me().blocked(&Need::Organisation).is_none();
    view! {
        <div class="flex flex-col gap-6">
            <section class="flex flex-col gap-3">
                <p class="muted max-w-prose">
                    "Agents that this server knows. Their metadata documents are built in, so they get in without anybody being asked; once their publisher can be reached, what is published counts."
                </p>
                {known.show(move |list| catalogue(list, done))}
            </section>
            {decides.then(|| view! { <Decided changes done /> })}
        </div>
    }
}

/// What the organisation decided; for those who decide.
#[component]
fn Decided<F>(changes: RwSignal<u32>, done: F) -> impl IntoView
where
    F: Fn() + Copy + Send + Sync + 'static,
{
    let client = client();
    let create = RwSignal::new(false);
    let decided = Remote::new(move || {
        changes.track();
        async move { client.all::<AgentDocument>("/agent-documents").await }
    });
    view! {
        <section class="flex flex-col gap-3">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <div class="flex max-w-prose flex-col gap-1">
                    <h2 class="font-semibold">"Decided here"</h2>
                    <p class="muted">"A pinned document counts at all apps, whatever is published, and without a way out to the internet. An agent that is refused is not let in."</p>
                </div>
                <Button look=Look::Primary on_press=move |()| create.set(true)>"Pin a document"</Button>
            </div>
            {decided.show(move |list| decisions(list, done))}
        </section>
        <Create open=create done />
    }
}

fn catalogue<F>(list: Vec<KnownAgent>, done: F) -> AnyView
where
    F: Fn() + Copy + Send + Sync + 'static,
{
    let edition = list.first().map(|known| {
        format!(
            "Catalogue {} of {}",
            known.catalogue_version, known.catalogue_date
        )
    });
    let columns = vec![
        column("Agent", |known: &KnownAgent| {
            view! {
                <span class="font-semibold">{known.name.clone()}</span>
                <span class="muted block text-[0.8125rem]">{known.publisher.clone()}</span>
            }
            .into_any()
        })
        .sorted_by(|a, b| a.name.to_lowercase().cmp(&b.name.to_lowercase())),
        column("Client id", |known: &KnownAgent| match known.client_id.clone() {
            Some(id) => view! { <span class="key break-all">{id}</span> }.into_any(),
            None => view! { <span class="muted">"Registers itself, or is entered"</span> }.into_any(),
        }),
        column("Returns to", |known: &KnownAgent| {
            if known.redirect_uris.is_empty() {
                return dash();
            }
            let uris = known.redirect_uris.iter().cloned();
            let uris = uris.map(|uri| view! { <li class="key break-all">{uri}</li> });
            view! { <ul>{uris.collect_view()}</ul> }.into_any()
        }),
        column("Document", |known: &KnownAgent| {
            match (known.decision, &known.document) {
                (Some(decision), _) => decided_as(decision),
                (None, Some(_)) => badge(Tone::Good, "Built in"),
                (None, None) => dash(),
            }
        }),
        column(ACTIONS, move |known: &KnownAgent| {
            match (&known.client_id, known.decision) {
                (Some(id), None) => {
                    view! { <Refuse client_id=id.clone() name=known.name.clone() done /> }.into_any()
                }
                _ => ().into_any(),
            }
        }),
    ];
    view! {
        {table("Known agents", columns, list)}
        <p class="muted text-[0.8125rem]">{edition}</p>
    }
    .into_any()
}

fn decided_as(decision: DocumentDecision) -> AnyView {
    match decision {
        DocumentDecision::Pin => badge(Tone::Good, "Pinned"),
        DocumentDecision::Refuse => badge(Tone::Bad, "Refused"),
    }
}

const REFUSED: &str = "Every grant that people gave it is revoked, at every app of the organisation, and it is not let in \
                       until this is taken back.";

#[component]
fn Refuse<F>(client_id: String, name: String, done: F) -> impl IntoView
where
    F: Fn() + Copy + Send + Sync + 'static,
{
    let act = Act::counted("Refuse", name, REFUSED).said("Refused, its grants are revoked");
    let write = move || {
        let body = json!({ "client_id": client_id, "decision": "refuse" });
        Write::post("/agent-documents", &body)
    };
    let blocked = me().gate(Need::Organisation);
    view! { <ActButton act blocked on_done=move |_| done() write /> }
}

fn decisions<F>(list: Vec<AgentDocument>, done: F) -> AnyView
where
    F: Fn() + Copy + Send + Sync + 'static,
{
    if list.is_empty() {
        let body = r#"{"client_id":"https://agent.example.com/client.json"}"#;
        return view! { <Empty text="Nothing is decided yet." curl=curl("POST", "/agent-documents", body) /> }
            .into_any();
    }
    let columns = vec![
        column("Client id", |d: &AgentDocument| {
            view! { <span class="key break-all">{d.client_id.clone()}</span> }.into_any()
        })
        .sorted_by(|a, b| a.client_id.cmp(&b.client_id)),
        column("Decision", |d: &AgentDocument| decided_as(d.spec.decision)),
        column("Document", |d: &AgentDocument| match &d.spec.document {
            Some(document) => {
                let text = serde_json::to_string_pretty(document).unwrap_or_default();
                view! { <details><summary class="link">"Show"</summary><pre class="key whitespace-pre-wrap break-all">{text}</pre></details> }.into_any()
            }
            None => dash(),
        }),
        column("Fetched", |d: &AgentDocument| match d.fetched_at {
            Some(at) => local(at).into_any(),
            None => dash(),
        }),
        column(ACTIONS, move |d: &AgentDocument| {
            view! { <Actions document=d.clone() done /> }.into_any()
        }),
    ];
    table("Decided documents", columns, list)
}

#[component]
fn Actions<F>(document: AgentDocument, done: F) -> impl IntoView
where
    F: Fn() + Copy + Send + Sync + 'static,
{
    let (acts, toasts) = (acts(), toasts());
    let sending = Sending::new();
    let blocked = me().gate(Need::Organisation);
    let name = document.client_id.clone();
    let path = StoredValue::new(format!("/agent-documents/{}", document.id));
    let version = document.version;
    let is_pinned = document.spec.decision == DocumentDecision::Pin;
    let fetch = move |()| {
        let write = Write::post(&format!("{}/refresh", path.get_value()), &json!({}));
        acts.make(sending, write, move |_: AgentDocument| {
            toasts.done("What is published now is pinned");
            done();
        });
    };
    let refuse = Act::counted("Refuse", &name, REFUSED).said("Refused, its grants are revoked");
    let back = Act::counted(
        "Take back",
        &name,
        "What is published counts again, or the catalogue. An agent that was refused may ask again.",
    )
    .said("Taken back");
    let refusal = move || {
        Write::patch(
            &path.get_value(),
            version,
            &json!({ "decision": "refuse", "document": null }),
        )
    };
    view! {
        <span class="inline-flex flex-wrap justify-end gap-1">
            {is_pinned.then(|| view! {
                <Button look=Look::Quiet blocked busy=sending.busy label=format!("Fetch {name} now") on_press=fetch>"Fetch now"</Button>
                <ActButton act=refuse blocked on_done=move |_| done() write=refusal />
            })}
            <ActButton act=back blocked on_done=move |_| done() write=move || Write::delete(&path.get_value()) />
        </span>
    }
}

/// Pins a document: the one that is pasted, or the one that is published now.
#[component]
fn Create<F>(open: RwSignal<bool>, done: F) -> impl IntoView
where
    F: Fn() + Copy + Send + Sync + 'static,
{
    let toasts = toasts();
    view! {
        <Dialog open title="Pin a document">
            {
                let client_id = RwSignal::new(String::new());
                let text = RwSignal::new(String::new());
                let sending = Sending::new();
                let send = move |event: leptos::ev::SubmitEvent| {
                    event.prevent_default();
                    let mut body = json!({ "client_id": client_id.get_untracked().trim() });
                    let pasted = text.get_untracked();
                    if !pasted.trim().is_empty() {
                        match serde_json::from_str::<serde_json::Value>(&pasted) {
                            Ok(document) => body["document"] = document,
                            Err(_) => return sending.refuse("/document", "this is not JSON"),
                        }
                    }
                    sending.write(Write::post("/agent-documents", &body), move |_: AgentDocument| {
                        open.set(false);
                        toasts.done("Pinned");
                        done();
                    });
                };
                view! {
                    <form class="flex flex-col gap-4" on:submit=send>
                        <TextField label="Client id" value=client_id required=true placeholder="https://agent.example.com/client.json" hint="The address of the document, which the agent sends as its client id." error=sending.at("/client_id") />
                        <TextArea label="Document" value=text rows=8 hint="As JSON. Left empty, what is published is fetched now." error=sending.at("/document") />
                        <FormError sending />
                        <FormButtons open sending>"Pin document"</FormButtons>
                    </form>
                }
            }
        </Dialog>
    }
}

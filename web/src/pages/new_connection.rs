//! Making a connection: choose the vendor, fill in what differs, see what has to be registered there.

use super::connections::words;
use crate::{client::client, me::directory, remote::Remote, ui::*};
use leptos::prelude::*;
use leptos_router::{NavigateOptions, hooks::use_navigate};
use serde_json::json;
use wire::{Connection, Discovery, Page as ListPage, PresetInfo};

/// The dialog.
#[component]
pub(crate) fn Create(open: RwSignal<bool>) -> impl IntoView {
    let client = client();
    let presets = Remote::new(move || async move {
        let page: ListPage<PresetInfo> = client.get("/connection-presets").await?;
        Ok(page.items)
    });
    view! {
        <Dialog open title="New connection" side=true>
            {presets.show(move |presets| view! { <Form open presets /> }.into_any())}
        </Dialog>
    }
}

/// The names under which the two kinds that are no OpenID Connect stand in the list.
const GITHUB: &str = "github";
const EMAIL: &str = "email_code";

#[component]
fn Form(open: RwSignal<bool>, presets: Vec<PresetInfo>) -> impl IntoView {
    let key = |preset: &PresetInfo| serde_json::to_value(preset.preset).ok();
    let key = move |preset: &PresetInfo| {
        key(preset)
            .and_then(|v| v.as_str().map(ToOwned::to_owned))
            .unwrap_or_default()
    };
    let mut all: Vec<_> = presets.iter().map(|p| (key(p), p.label.clone())).collect();
    all.push((GITHUB.to_owned(), "GitHub".to_owned()));
    all.push((EMAIL.to_owned(), "Code by e-mail".to_owned()));
    let vendor = RwSignal::new("generic".to_owned());
    let presets = StoredValue::new(presets);
    let chosen = Memo::new(move |_| {
        let vendor = vendor.get();
        presets.with_value(|all| all.iter().find(|p| key(p) == vendor).cloned())
    });
    view! {
        <div class="flex flex-col gap-4">
            <Select label="Provider" value=vendor options=Signal::stored(all) />
            {move || view! { <Fields open vendor=vendor.get() preset=chosen.get() /> }}
        </div>
    }
}

#[component]
fn Fields(open: RwSignal<bool>, vendor: String, preset: Option<PresetInfo>) -> impl IntoView {
    let client = client();
    let names = directory();
    let toasts = toasts();
    let navigate = StoredValue::new_local(use_navigate());
    let text = || RwSignal::new(String::new());
    let (name, issuer, client_id, secret) = (text(), text(), text(), text());
    let (internal, domains, organisations) = (text(), text(), text());
    let bind_new = RwSignal::new(true);
    let (sending, discovering) = (Sending::new(), Sending::new());
    let found = RwSignal::new(None::<Discovery>);
    let is_email = vendor == EMAIL;
    let is_github = vendor == GITHUB;
    let pins: Vec<_> = preset
        .iter()
        .flat_map(|p| p.required_claims.clone())
        .map(|claim| (claim, RwSignal::new(String::new())))
        .collect();
    let parts: Vec<_> = preset
        .iter()
        .flat_map(|p| p.placeholders.clone())
        .map(|part| (part, RwSignal::new(String::new())))
        .collect();
    // What is typed into the parts makes the issuer, which can still be changed by hand.
    let template = StoredValue::new(preset.clone());
    let by_name: Vec<_> = parts
        .iter()
        .map(|(part, value)| (part.name.clone(), *value))
        .collect();
    Effect::new(move |_| {
        let value = |name: &str| {
            by_name
                .iter()
                .find(|(n, _)| n == name)
                .map(|(_, value)| value.get())
        };
        if let Some(made) = template.with_value(|p| p.as_ref().and_then(|p| p.issuer_with(value))) {
            issuer.set(made);
        }
    });
    let discover = move |()| {
        let body = json!({
            "issuer": issuer.get_untracked().trim(),
            "allow_internal": words(&internal.get_untracked()),
        });
        discovering.run(
            async move { client.post::<Discovery>("/connections/discover", &body).await },
            move |discovery| {
                issuer.set(discovery.issuer.clone());
                found.set(Some(discovery));
            },
        );
    };
    let pinned = StoredValue::new(pins.clone());
    let kind = StoredValue::new(vendor);
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let mut body = json!({
            "name": name.get_untracked().trim(),
            "bind_new_accounts": bind_new.get_untracked(),
            "allowed_domains": words(&domains.get_untracked()),
        });
        if is_email {
            body["kind"] = json!(EMAIL);
        } else {
            body["client_id"] = json!(client_id.get_untracked().trim());
            body["allow_internal"] = json!(words(&internal.get_untracked()));
            let issuer = issuer.get_untracked().trim().to_owned();
            if !issuer.is_empty() {
                body["issuer"] = json!(issuer);
            }
            let secret = secret.get_untracked();
            if !secret.is_empty() {
                body["client_secret"] = json!(secret);
            }
        }
        if is_github {
            body["kind"] = json!(GITHUB);
            body["scopes"] = json!(["read:user", "user:email", "read:org"]);
            body["github_organisations"] = json!(words(&organisations.get_untracked()));
        } else if let Some(preset) = template.get_value() {
            body["kind"] = json!("oidc");
            body["preset"] = json!(kind.get_value());
            body["scopes"] = json!(preset.scopes);
            body["claims"] = json!(preset.claims);
            body["email_verification"] = json!(preset.email_verification);
            let pins = pinned.get_value().into_iter();
            let pins = pins.map(|(claim, value)| (claim, json!(value.get_untracked().trim())));
            let pins: serde_json::Map<_, _> = pins.filter(|(_, value)| value != "").collect();
            body["required_claims"] = json!(pins);
        }
        sending.run(
            async move { client.post::<Connection>("/connections", &body).await },
            move |made| {
                open.set(false);
                names.connections.reload();
                toasts.done(format!(
                    "{} made. Test it, then bind it to accounts.",
                    made.spec.name
                ));
                let target = format!("/connections/{}", made.id);
                navigate.with_value(|go| go(&target, NavigateOptions::default()));
            },
        );
    };
    let hints = |list: Vec<String>| {
        list.into_iter()
            .map(|text| view! { <li>{text}</li> })
            .collect_view()
    };
    let steps = preset.as_ref().map(|p| hints(p.register.clone()));
    let notes = preset.as_ref().map(|p| hints(p.notes.clone()));
    let upstream = !is_email;
    view! {
        <form class="flex flex-col gap-4" on:submit=send>
            {steps.map(|steps| view! { <div><p class="font-medium">"At the provider"</p><ol class="list-decimal pl-5">{steps}</ol></div> })}
            {upstream.then(|| view! {
                <div>
                    <p class="font-medium">"Redirect URI to register there"</p>
                    <p class="muted">"Each connection has its own: the next page shows it as soon as the connection is made. Where the provider asks for one before it gives out a client id, enter a placeholder and replace it then."</p>
                </div>
            })}
            <TextField label="Name" value=name required=true hint="Shown on the sign-in page." error=sending.at("/name") />
            {parts.into_iter().map(|(part, value)| view! { <TextField label=part.label value placeholder=part.example /> }).collect_view()}
            {upstream.then(|| view! {
                <TextField label="Issuer" value=issuer kind="url" required={!is_github}
                    hint=if is_github { "Empty for github.com; the address of your GitHub Enterprise server otherwise." } else { "Exactly as the provider states it; its endpoints and keys are discovered from it." }
                    error=sending.at("/issuer") />
            })}
            {(upstream && !is_github).then(|| view! {
                <div class="flex flex-col gap-2">
                    <div><Button busy=discovering.busy on_press=discover>"Look it up"</Button></div>
                    <FormError sending=discovering />
                    {move || found.get().map(discovered)}
                </div>
            })}
            {pins.into_iter().map(|(claim, value)| view! {
                <TextField label=format!("Required value of the claim {claim}") value required=true hint="Nobody whose token says something else gets in." error=sending.at("/required_claims") />
            }).collect_view()}
            {upstream.then(|| view! {
                <TextField label="Client id" value=client_id required=true error=sending.at("/client_id") />
                <TextField label="Client secret" value=secret kind="password" autocomplete="new-password" hint="Stored encrypted, never shown again." error=sending.at("/client_secret") />
            })}
            {is_github.then(|| view! { <TextField label="Only members of these organisations" value=organisations hint="Empty for any GitHub user, which is seldom what you want." error=sending.at("/github_organisations") /> })}
            <TextField label="Only these e-mail domains" value=domains required=is_email hint=if is_email { "Codes are sent to addresses of these domains only." } else { "Empty for any." } error=sending.at("/allowed_domains") />
            <Checkbox label="Bind to accounts that are made later, too" value=bind_new />
            {upstream.then(|| view! {
                <details>
                    <summary class="muted w-fit cursor-pointer py-1">"The provider runs on an internal address"</summary>
                    <TextField label="Internal origins it may be reached at" value=internal placeholder="http://10.0.0.5:8080"
                        hint="Internal addresses are refused unless they are listed here." error=sending.at("/allow_internal") />
                </details>
            })}
            {notes.map(|notes| view! { <ul class="muted list-disc pl-5">{notes}</ul> })}
            <FormError sending />
            <FormButtons open sending>"Create connection"</FormButtons>
        </form>
    }
}

fn discovered(discovery: Discovery) -> AnyView {
    let warnings = discovery
        .warnings
        .into_iter()
        .map(|text| view! { <li class="text-warning">{text}</li> });
    view! {
        <div class="rounded-(--radius-field) border border-base-300 p-3" aria-live="polite">
            {facts(vec![
                ("Issuer", view! { <span class="key">{discovery.issuer}</span> }.into_any()),
                ("Signs with", chips(discovery.algorithms)),
                ("Signing keys", discovery.signing_keys.to_string().into_any()),
                ("Scopes", chips(discovery.scopes)),
            ])}
            <ul class="list-disc pl-5">{warnings.collect_view()}</ul>
        </div>
    }
    .into_any()
}

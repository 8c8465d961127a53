//! Settings: the organisation's name and rules, API tokens, signing keys.

use crate::{
    client::client,
    me::{Need, directory, me},
    remote::Remote,
    selector::{Drafts, SelectorList},
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{
    ApiToken, CreatedApiToken, KeyState, NewApiToken, Organisation, SigningKey, Timestamp, TokenScope,
};

/// `/settings?tab=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let tabs = vec![
        tab("organisation", "Organisation", || {
            view! { <OrganisationTab /> }.into_any()
        }),
        tab("tokens", "API tokens", || view! { <Tokens /> }.into_any()),
        tab("keys", "Signing keys", || view! { <Keys /> }.into_any()),
    ];
    view! {
        <PageHead title="Settings" />
        <Tabs label="Settings" tabs />
    }
}

#[component]
fn OrganisationTab() -> impl IntoView {
    let client = client();
    let remote = Remote::new(move || async move { client.get::<Organisation>("/organisation").await });
    remote.live(move |org| view! { <OrganisationForm remote org /> }.into_any())
}

#[component]
fn OrganisationForm(remote: Remote<Organisation>, org: Signal<Organisation>) -> impl IntoView {
    let client = client();
    let toasts = toasts();
    let names = directory();
    let first = org.get_untracked();
    let name = RwSignal::new(first.spec.name);
    let primary = RwSignal::new(
        first
            .spec
            .primary_connection
            .map(|id| id.to_string())
            .unwrap_or_default(),
    );
    let floor = Drafts::of(&first.spec.floor);
    let blocked = me().gate(Need::Organisation);
    let sending = Sending::new();
    let options = Signal::derive(move || {
        std::iter::once((String::new(), "None".to_owned()))
            .chain(names.connection_options().get())
            .collect::<Vec<_>>()
    });
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let floor = match untrack(|| floor.build()) {
            Ok(floor) => floor,
            Err(missing) => return sending.refuse("/floor", missing),
        };
        let primary = Some(primary.get_untracked()).filter(|id| !id.is_empty());
        let patch =
            json!({ "name": name.get_untracked().trim(), "primary_connection": primary, "floor": floor });
        let version = org.get_untracked().version;
        sending.run(
            async move {
                client
                    .patch::<Organisation>("/organisation", version, &patch)
                    .await
            },
            move |saved| {
                toasts.done("Organisation saved");
                remote.put(saved);
            },
        );
    };
    view! {
        <form class="panel flex flex-col gap-6 p-4" on:submit=save>
            <div class="grid gap-4 md:grid-cols-2">
                <TextField label="Name" value=name required=true hint="Shown to people when they sign in." error=sending.at("/name") />
                <Select label="Primary connection" value=primary options hint="Bound to accounts by default." error=sending.at("/primary_connection") />
            </div>
            <SelectorList drafts=floor label="Rules of the organisation"
                hint="Every request in every account has to meet all of these. No account can weaken them." blocked error=sending.at("/floor") />
            <FormError sending />
            <div><Submit busy=sending.busy blocked>"Save organisation"</Submit></div>
        </form>
    }
}

#[component]
fn Tokens() -> impl IntoView {
    let client = client();
    let names = directory();
    let tokens = Remote::new(move || async move { client.all::<ApiToken>("/api-tokens").await });
    let create = RwSignal::new(false);
    view! {
        <div class="flex flex-col gap-4">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <p class="muted max-w-prose">"Credentials for automation. A token acts with your roles, within its scopes; the audit log names it."</p>
                <Button look=Look::Primary on_press=move |()| create.set(true)>"New token"</Button>
            </div>
            {tokens
                .show(move |list| {
                    if list.is_empty() {
                        return view! { <Empty text="There is no API token. Make one to use the API, the CLI or Terraform." /> }.into_any();
                    }
                    let columns = vec![
                        column("Name", |t: &ApiToken| view! { <span class="font-semibold">{t.name.clone()}</span> }.into_any())
                            .sorted_by(|a, b| a.name.cmp(&b.name)),
                        column("Begins with", |t: &ApiToken| view! { <span class="key">{format!("{}…", t.prefix)}</span> }.into_any()),
                        column("Scopes", |t: &ApiToken| chips(t.scopes.iter().map(|scope| scope_key(*scope).to_owned()))),
                        column("Owner", move |t: &ApiToken| {
                            let owner = t.owner.clone();
                            (move || names.user(&owner)).into_any()
                        }),
                        column("Last use", |t: &ApiToken| since_or_never(t.last_used_at)),
                        column("Ends", |t: &ApiToken| t.expires_at.map_or_else(|| "never".into_any(), moment)),
                        column(ACTIONS, move |t: &ApiToken| view! { <RevokeToken token=t.clone() tokens /> }.into_any()),
                    ];
                    table("API tokens", columns, list)
                })}
        </div>
        <CreateToken open=create tokens />
    }
}

const fn scope_key(scope: TokenScope) -> &'static str {
    match scope {
        TokenScope::Read => "read",
        TokenScope::Write => "write",
        TokenScope::Audit => "audit",
    }
}

#[component]
fn RevokeToken(token: ApiToken, tokens: Remote<Vec<ApiToken>>) -> impl IntoView {
    let client = client();
    let toasts = toasts();
    let ask = RwSignal::new(false);
    let sending = Sending::new();
    let id = StoredValue::new(token.id.clone());
    let revoke = move |()| {
        sending.run(
            async move { client.delete(&format!("/api-tokens/{}", id.get_value())).await },
            move |()| {
                ask.set(false);
                toasts.done("API token revoked");
                tokens.reload();
            },
        );
    };
    view! {
        <Button look=Look::Quiet label=format!("Revoke {}", token.name) on_press=move |()| ask.set(true)>"Revoke"</Button>
        <Confirm open=ask title=format!("Revoke {}?", token.name) text="What uses it is refused at once." action="Revoke token"
            word=Signal::stored(token.name.clone()) sending on_confirm=revoke />
    }
}

#[component]
fn CreateToken(open: RwSignal<bool>, tokens: Remote<Vec<ApiToken>>) -> impl IntoView {
    let client = client();
    view! {
        <Dialog open title="New API token">
            {
                let name = RwSignal::new(String::new());
                let (read, write, audit) = (RwSignal::new(true), RwSignal::new(false), RwSignal::new(false));
                let days = RwSignal::new("90".to_owned());
                let made = RwSignal::new(None::<String>);
                let sending = Sending::new();
                let send = move |event: leptos::ev::SubmitEvent| {
                    event.prevent_default();
                    let scopes = [(read, TokenScope::Read), (write, TokenScope::Write), (audit, TokenScope::Audit)];
                    let scopes: Vec<_> = scopes.into_iter().filter(|(on, _)| on.get_untracked()).map(|(_, scope)| scope).collect();
                    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
                    let now = Timestamp::from_seconds((js_sys::Date::now() / 1000.0) as i64);
                    let expires_at = days.get_untracked().parse::<i64>().ok().map(|days| now.plus_seconds(days * 86_400));
                    let body = NewApiToken { name: name.get_untracked().trim().to_owned(), scopes, expires_at };
                    sending.run(async move { client.post::<CreatedApiToken>("/api-tokens", &body).await }, move |created| {
                        made.set(Some(created.token));
                        tokens.reload();
                    });
                };
                let ends = [("30", "After 30 days"), ("90", "After 90 days"), ("365", "After a year"), ("", "Never")];
                let ends = Signal::stored(ends.map(|(key, text)| (key.to_owned(), text.to_owned())).to_vec());
                move || match made.get() {
                    Some(token) => view! {
                        <div class="flex flex-col gap-4">
                            <SecretOnce secret=token label="API token" />
                            <div class="flex justify-end"><Button look=Look::Primary on_press=move |()| open.set(false)>"Done"</Button></div>
                        </div>
                    }.into_any(),
                    None => view! {
                        <form class="flex flex-col gap-4" on:submit=send>
                            <TextField label="Name" value=name required=true hint="What it is for, for example terraform." error=sending.at("/name") />
                            <fieldset>
                                <legend class="mb-1 font-medium">"Scopes"</legend>
                                <Checkbox label="Read" hint="Everything you may read, except the audit log" value=read />
                                <Checkbox label="Write" hint="Everything you may change" value=write />
                                <Checkbox label="Audit" hint="Read and export the audit log" value=audit />
                                <p class="text-error text-[0.8125rem] empty:hidden">{move || sending.at("/scopes").get()}</p>
                            </fieldset>
                            <Select label="Ends" value=days options=ends error=sending.at("/expires_at") />
                            <FormError sending />
                            <FormButtons open sending>"Create token"</FormButtons>
                        </form>
                    }.into_any(),
                }
            }
        </Dialog>
    }
}

#[component]
fn Keys() -> impl IntoView {
    let client = client();
    let toasts = toasts();
    let keys = Remote::new(move || async move { client.all::<SigningKey>("/signing-keys").await });
    let ask = RwSignal::new(false);
    let sending = Sending::new();
    let rotate = move |()| {
        sending.run(
            async move {
                client
                    .post::<serde_json::Value>("/signing-keys/rotate", &json!({}))
                    .await
            },
            move |_| {
                ask.set(false);
                toasts.done("Keys rotated");
                keys.reload();
            },
        );
    };
    view! {
        <div class="flex flex-col gap-4">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <p class="muted max-w-prose">"Tokens and assertions are signed with the active key. Origins read the public keys from each issuer's JWKS."</p>
                <Button blocked=me().gate(Need::Organisation) on_press=move |()| ask.set(true)>"Rotate"</Button>
            </div>
            {keys
                .show(|list| {
                    if list.is_empty() {
                        return view! { <Empty text="There is no signing key." /> }.into_any();
                    }
                    let columns = vec![
                        column("Key", |k: &SigningKey| copyable(k.id.to_string(), "key identifier")),
                        column("Algorithm", |k: &SigningKey| k.algorithm.clone().into_any()),
                        column("State", |k: &SigningKey| match k.state {
                            KeyState::Active => badge(Tone::Good, "Active: signs"),
                            KeyState::Next => badge(Tone::Neutral, "Next: published only"),
                            KeyState::Retiring => badge(Tone::Careful, "Retiring: still verifies"),
                        }),
                        column("Made", |k: &SigningKey| moment(k.created_at)),
                        column("Disappears", |k: &SigningKey| k.not_after.map_or_else(dash, moment)),
                    ];
                    table("Signing keys", columns, list)
                })}
        </div>
        <Confirm open=ask title="Rotate the signing keys?"
            text="The next key starts to sign. The present one stays published until everything that it signed has expired, so nobody is logged out."
            action="Rotate keys" sending on_confirm=rotate />
    }
}

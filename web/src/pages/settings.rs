//! Settings: the organisation's name and rules, credentials for automation, webhooks, signing keys.

use crate::{
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    selector::{Drafts, SelectorList},
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{KeyState, Organisation, SigningKey};

/// `/settings?tab=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let tabs = vec![
        tab("organisation", "Organisation", || {
            view! { <OrganisationTab /> }.into_any()
        }),
        tab("tokens", "API tokens", || {
            view! { <super::tokens::Tokens /> }.into_any()
        }),
        tab("webhooks", "Webhooks", || {
            view! { <super::webhooks::Webhooks /> }.into_any()
        }),
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
    let (acts, toasts) = (acts(), toasts());
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
    let second_factor = RwSignal::new(first.spec.require_second_factor);
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
        let patch = json!({
            "name": name.get_untracked().trim(),
            "primary_connection": primary,
            "floor": floor,
            "require_second_factor": second_factor.get_untracked(),
        });
        let now = org.get_untracked();
        let act = Act::counted(
            "Save organisation",
            &now.spec.name,
            "By this change, people lose access or can no longer sign in.",
        )
        .asks(format!("Save {}?", now.spec.name));
        let write = Write::patch("/organisation", now.version, &patch);
        acts.save(sending, act, write, move |saved: Organisation| {
            toasts.done("Organisation saved");
            remote.put(saved);
        });
    };
    view! {
        <form class="panel flex flex-col gap-6 p-4" on:submit=save>
            <div class="grid gap-4 md:grid-cols-2">
                <TextField label="Name" value=name required=true hint="Shown to people when they sign in." error=sending.at("/name") />
                <Select label="Primary connection" value=primary options hint="Bound to accounts by default." error=sending.at("/primary_connection") />
            </div>
            <SelectorList drafts=floor label="Rules of the organisation"
                hint="Every request in every account has to meet all of these. No account can weaken them." blocked error=sending.at("/floor") />
            <Checkbox label="People with a local password need a second factor" hint="Whoever has none is asked to set one up at the next sign-in." value=second_factor />
            <FormError sending />
            <div><Submit busy=sending.busy blocked>"Save organisation"</Submit></div>
        </form>
    }
}

#[component]
fn Keys() -> impl IntoView {
    let client = client();
    let keys = Remote::new(move || async move { client.all::<SigningKey>("/signing-keys").await });
    let rotate = Act::new(
        "Rotate",
        "the signing keys",
        "The next key starts to sign. The present one stays published until everything that it signed has expired, so nobody is logged out.",
    )
    .said("Keys rotated");
    let write = || Write::post("/signing-keys/rotate", &json!({}));
    view! {
        <div class="flex flex-col gap-4">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <p class="muted max-w-prose">"Tokens and assertions are signed with the active key. Origins read the public keys from each issuer's JWKS."</p>
                <ActButton act=rotate look=Look::Plain blocked=me().gate(Need::Organisation) write on_done=move |_| keys.reload() />
            </div>
            {keys
                .show(|list| {
                    if list.is_empty() {
                        return view! { <Empty text="There is no signing key." /> }.into_any();
                    }
                    let columns = vec![
                        column("Key", |k: &SigningKey| identifier(k.id.to_string(), "key identifier")),
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
    }
}

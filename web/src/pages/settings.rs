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
        tab("hosts", "Hosts", || view! { <super::hosts::Hosts /> }.into_any()),
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

/// How old a provider's word may be at most.
pub(super) const PROOF: Span = Span::days(300..=31_536_000);

/// What a second factor for everybody does that no dry run counts.
const SIGNED_OUT: &str = "People with a local password who signed in without a second factor, you included if you are \
                          one of them, are signed out of this dashboard, too. Whoever has none adds one at their next \
                          sign-in.";

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
    let oldest = first.spec.oldest_proof;
    let agents = RwSignal::new(PROOF.text(oldest.agents_seconds));
    let sessions = RwSignal::new(PROOF.text(oldest.sessions_seconds));
    let ranges = RwSignal::new(first.spec.allowed_origin_ranges.join(", "));
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
        let agents = match PROOF.read(&agents.get_untracked()) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/oldest_proof/agents_seconds", why),
        };
        let sessions = match PROOF.read(&sessions.get_untracked()) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/oldest_proof/sessions_seconds", why),
        };
        let primary = Some(primary.get_untracked()).filter(|id| !id.is_empty());
        let ranges = ranges.get_untracked();
        let ranges: Vec<&str> = ranges
            .split([',', ' '])
            .filter(|range| !range.is_empty())
            .collect();
        let patch = json!({
            "name": name.get_untracked().trim(),
            "primary_connection": primary,
            "floor": floor,
            "require_second_factor": second_factor.get_untracked(),
            "oldest_proof": { "agents_seconds": agents, "sessions_seconds": sessions },
            "allowed_origin_ranges": ranges,
        });
        let now = org.get_untracked();
        let asks_factor = second_factor.get_untracked() && !now.spec.require_second_factor;
        let act = Act::counted(
            "Save organisation",
            &now.spec.name,
            if asks_factor {
                SIGNED_OUT
            } else {
                "By this change, people lose access or can no longer sign in."
            },
        )
        .asks(format!("Save {}?", now.spec.name));
        let act = if asks_factor { act.uncounted() } else { act };
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
            <Checkbox label="People with a local password need a second factor" hint="Whoever has none is asked to set one up at the next sign-in. Until then their sessions, those of this dashboard included, and their API tokens stop; agents that were allowed without one ask again." value=second_factor />
            <fieldset class="grid gap-4 md:grid-cols-2">
                <legend class="font-semibold">"How long the identity provider's word is good"</legend>
                <TextField label="For agents, in days" value=agents hint="Agents and API tokens of somebody who has not signed in for longer stop, and go on when they sign in again. So whoever left the company keeps no agent."
                    error=sending.at("/oldest_proof/agents_seconds") />
                <TextField label="For browser sessions, in days" value=sessions hint="After that the browser is sent to the identity provider again."
                    error=sending.at("/oldest_proof/sessions_seconds") />
            </fieldset>
            <TextField label="Special networks that apps may lie in" value=ranges placeholder="169.254.10.0/24"
                hint="Link-local addresses and those where clouds hand out credentials are closed to origins unless they are named here. Private networks need no entry."
                error=sending.at("/allowed_origin_ranges") />
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
    let compromised = Act::new(
        "Replace compromised",
        "the signing keys",
        "Fresh keys sign from now on, and none of those that are there counts any more: every token of an agent is refused at once, and agents refresh theirs. Origins that keep the public keys read them anew.",
    )
    .said("Keys replaced");
    let replace = || Write::post("/signing-keys/rotate", &json!({"compromised": true}));
    view! {
        <div class="flex flex-col gap-4">
            <div class="flex flex-wrap items-end justify-between gap-3">
                <p class="muted max-w-prose">"Tokens and assertions are signed with the active key. Origins read the public keys from each issuer's JWKS."</p>
                <div class="flex flex-wrap gap-2">
                    <ActButton act=compromised look=Look::Plain blocked=me().gate(Need::Organisation) write=replace on_done=move |_| keys.reload() />
                    <ActButton act=rotate look=Look::Plain blocked=me().gate(Need::Organisation) write on_done=move |_| keys.reload() />
                </div>
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

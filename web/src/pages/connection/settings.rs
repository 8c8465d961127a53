//! What an administrator may change about a connection.

use super::mapping::MappingPreview;
use crate::{
    client::Write,
    me::{Need, directory, me},
    pages::connections::words,
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use serde_json::json;
use wire::{Connection, ConnectionKind, EmailVerification};

#[component]
pub(super) fn Settings(remote: Remote<Connection>, connection: Signal<Connection>) -> impl IntoView {
    let acts = acts();
    let names = directory();
    let toasts = toasts();
    let spec = connection.get_untracked().spec;
    let text = |text: String| RwSignal::new(text);
    let name = text(spec.name);
    let issuer = text(spec.issuer.unwrap_or_default());
    let client_id = text(spec.client_id.unwrap_or_default());
    let secret = text(String::new());
    let scopes = text(spec.scopes.join(" "));
    let domains = text(spec.allowed_domains.join(", "));
    let internal = text(spec.allow_internal.join("\n"));
    let (email, display, groups, separator, member) = (
        text(spec.claims.email),
        text(spec.claims.name),
        text(spec.claims.groups),
        text(spec.claims.groups_separator.unwrap_or_default()),
        text(spec.claims.groups_member.unwrap_or_default()),
    );
    let audiences = text(spec.trusted_audiences.join("\n"));
    let bind_new = RwSignal::new(spec.bind_new_accounts);
    let verification = RwSignal::new(
        match spec.email_verification {
            EmailVerification::Claim => "claim",
            EmailVerification::Always => "always",
            EmailVerification::Never => "never",
        }
        .to_owned(),
    );
    let pins = spec
        .required_claims
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let pins = text(pins.collect::<Vec<_>>().join("\n"));
    let organisations = text(spec.github_organisations.join(", "));
    let (sign_out, back_channel) = (
        RwSignal::new(spec.logout.rp_initiated),
        RwSignal::new(spec.logout.back_channel),
    );
    let kind = spec.kind;
    let now_id = connection.get_untracked().id;
    let oidc = kind == ConnectionKind::Oidc;
    let github = kind == ConnectionKind::Github;
    let sending = Sending::new().called(&[
        ("/client_secret", "New client secret"),
        (
            "/github_organisations",
            "Only members of these GitHub organisations",
        ),
    ]);
    let mapping = move || {
        json!({ "email": email.get_untracked().trim(), "name": display.get_untracked().trim(), "groups": groups.get_untracked().trim(),
            "groups_separator": Some(separator.get_untracked()).filter(|s| !s.is_empty()),
            "groups_member": Some(member.get_untracked().trim().to_owned()).filter(|s| !s.is_empty()) })
    };
    let asked = Callback::new(move |()| {
        let required: serde_json::Map<_, _> = pairs(&pins.get_untracked())
            .into_iter()
            .map(|(name, value)| (name, json!(value)))
            .collect();
        json!({ "claims": mapping(), "email_verification": verification.get_untracked(), "required_claims": required })
    });
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let now = connection.get_untracked();
        let mut patch = json!({
            "name": name.get_untracked().trim(),
            "allowed_domains": words(&domains.get_untracked()),
            "bind_new_accounts": bind_new.get_untracked(),
        });
        if oidc || github {
            patch["client_id"] = json!(client_id.get_untracked().trim());
            patch["issuer"] = json!(Some(issuer.get_untracked().trim().to_owned()).filter(|i| !i.is_empty()));
            patch["allow_internal"] = json!(words(&internal.get_untracked()));
            patch["scopes"] = json!(words(&scopes.get_untracked()));
        }
        if github {
            patch["github_organisations"] = json!(words(&organisations.get_untracked()));
        }
        if oidc {
            patch["claims"] = mapping();
            patch["trusted_audiences"] = json!(words(&audiences.get_untracked()));
            patch["email_verification"] = json!(verification.get_untracked());
            patch["logout"] = json!({ "rp_initiated": sign_out.get_untracked(), "back_channel": back_channel.get_untracked() });
            // A merge patch: what is no longer there has to be taken away by name.
            let mut claims = json!(
                now.spec
                    .required_claims
                    .keys()
                    .map(|k| (k.clone(), json!(null)))
                    .collect::<serde_json::Map<_, _>>()
            );
            for (name, value) in pairs(&pins.get_untracked()) {
                claims[name] = json!(value);
            }
            patch["required_claims"] = claims;
        }
        if !secret.get_untracked().is_empty() {
            patch["client_secret"] = json!(secret.get_untracked());
        }
        let write = Write::patch(&format!("/connections/{}", now.id), now.version, &patch);
        let act = Act::counted(
            "Save settings",
            &now.spec.name,
            "By this change, people lose access or can no longer sign in.",
        )
        .asks(format!("Save {}?", now.spec.name));
        acts.save(sending, act, write, move |saved: Connection| {
            secret.try_set(String::new());
            toasts.done(format!("{} saved", saved.spec.name));
            remote.put(saved);
            names.connections.reload();
        });
    };
    view! {
        <form on:submit=save>
            <Panel title="Settings">
                <div class="grid gap-4 md:grid-cols-2">
                    <TextField label="Name" value=name required=true error=sending.at("/name") />
                    <TextField label="Only these e-mail domains" value=domains hint="Empty for any." error=sending.at("/allowed_domains") />
                    {(oidc || github).then(|| view! {
                        <TextField label="Issuer" value=issuer kind="url" required=oidc error=sending.at("/issuer") />
                        <TextField label="Client id" value=client_id required=true error=sending.at("/client_id") />
                        <TextField label="New client secret" value=secret kind="password" autocomplete="new-password" hint="Empty keeps the stored one. Another issuer needs the secret again." error=sending.at("/client_secret") />
                        <TextField label="Scopes" value=scopes hint={if oidc { "With offline_access the provider is asked every hour whether it still vouches for people." } else { "" }} error=sending.at("/scopes") />
                        <TextArea label="Internal origins it may be reached at" value=internal rows=2 error=sending.at("/allow_internal") />
                    })}
                    {github.then(|| view! {
                        <TextField label="Only members of these GitHub organisations" value=organisations hint="Empty for any." error=sending.at("/github_organisations") />
                    })}
                    {oidc.then(|| view! {
                        <TextArea label="Claims that must have a value" value=pins rows=2 hint="One a line, such as tid=0b6d…; nobody else gets in." error=sending.at("/required_claims") />
                        <Select label="E-mail addresses count as verified" value=verification options=verifications() error=sending.at("/email_verification") />
                        <TextField label="Claim with the e-mail address" value=email error=sending.at("/claims/email") />
                        <TextField label="Claim with the name" value=display error=sending.at("/claims/name") />
                        <TextField label="Claim with the groups" value=groups error=sending.at("/claims/groups") />
                        <TextField label="Between groups that come as one text" value=separator hint="Such as , or a comma and a blank. Empty when groups come as a list, or such a text is one group." error=sending.at("/claims/groups_separator") />
                        <TextField label="Member that counts of groups that are objects" value=member hint="Such as name – empty when groups come as text." error=sending.at("/claims/groups_member") />
                        <TextArea label="Other clients its tokens may be meant for" value=audiences rows=2 hint="One a line. Empty refuses tokens with several audiences." error=sending.at("/trusted_audiences") />
                    })}
                </div>
                <div class="mt-4 flex flex-col gap-4">
                    {oidc.then(|| view! { <MappingPreview connection=now_id.clone() asked /> })}
                    {oidc.then(|| view! {
                        <Checkbox label="Signing out here signs out at the provider, too" value=sign_out />
                        <Checkbox label="The provider may end sessions here (back-channel logout)" value=back_channel />
                    })}
                    <Checkbox label="Bind to accounts that are made later, too" value=bind_new />
                    <FormError sending />
                    <div><Submit busy=sending.busy blocked=me().gate(Need::Organisation)>"Save settings"</Submit></div>
                </div>
            </Panel>
        </form>
    }
}

fn verifications() -> Signal<Vec<(String, String)>> {
    options(&[
        ("claim", "When the provider says so"),
        ("always", "Always: the provider vouches for all of them"),
        ("never", "Never"),
    ])
}

/// `name=value`, one a line.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

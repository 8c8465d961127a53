//! One policy: its decision and its selectors, tested before they are saved.

use super::tester::Tester;
use crate::{
    choice::{Choice, Thing, lacking},
    client::{Write, client},
    me::{Need, me},
    remote::Remote,
    selector::{Drafts, SelectorList},
    ui::*,
};
use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_navigate, use_params_map},
};
use serde_json::json;
use wire::{AccountId, Policy, PolicyDecision, PolicySpec, Selector};

/// `/policies/{id}`, `/policies/new`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let params = use_params_map();
    let id = Memo::new(move |_| params.with(|params| params.get("id").unwrap_or_default()));
    // `None` stands for a policy that is not there yet.
    let remote = Remote::new(move || {
        let id = id.get();
        async move {
            if id == "new" {
                Ok(None)
            } else {
                client.get::<Policy>(&format!("/policies/{id}")).await.map(Some)
            }
        }
    });
    let title = Signal::derive(move || match remote.ready() {
        Some(Some(policy)) => policy.spec.name,
        _ if id.get() == "new" => "New policy".into(),
        _ => "Policy".into(),
    });
    view! {
        <PageHead title parent=("/policies", "Policies") />
        {remote
            .live(move |policy| {
                // A new form for another policy only: what has been typed survives a save.
                let id = Memo::new(move |_| policy.get().map(|policy| policy.id));
                let editor = move || {
                    id.with(|_| ());
                    view! { <Editor remote policy=policy.get_untracked() /> }
                };
                editor.into_any()
            })}
    }
}

const DECISIONS: &[(PolicyDecision, &str, &str)] = &[
    (PolicyDecision::Allow, "allow", "Allow: let them through"),
    (PolicyDecision::Deny, "deny", "Deny: refuse them"),
    (
        PolicyDecision::ServiceAuth,
        "service_auth",
        "Service tokens only, never people",
    ),
    (
        PolicyDecision::Bypass,
        "bypass",
        "Bypass: let through without sign-in (still logged)",
    ),
];

#[component]
fn Editor(remote: Remote<Option<Policy>>, policy: Option<Policy>) -> impl IntoView {
    let acts = acts();
    let toasts = toasts();
    let navigate = StoredValue::new_local(use_navigate());
    let spec = policy.as_ref().map_or_else(blank, |policy| policy.spec.clone());
    let need = policy
        .as_ref()
        .map_or(Need::EditSomewhere, |policy| Need::Edit(policy.account.clone()));
    let blocked = me().gate(need);
    let existing = policy.is_some();
    let version = StoredValue::new(policy.as_ref().map_or(0, |policy| policy.version));
    let id = StoredValue::new(policy.map(|policy| policy.id));
    let account = RwSignal::new(String::new());
    let name = RwSignal::new(spec.name);
    let key = DECISIONS
        .iter()
        .find(|(known, ..)| *known == spec.decision)
        .map_or("allow", |(_, key, _)| key);
    let decision = RwSignal::new(key.to_owned());
    let (include, require, exclude) = (
        Drafts::of(&spec.include),
        Drafts::of(&spec.require),
        Drafts::of(&spec.exclude),
    );
    let build = move || -> Result<PolicySpec, (&'static str, String)> {
        let decision = DECISIONS
            .iter()
            .find(|(_, key, _)| *key == decision.get())
            .map_or(PolicyDecision::Deny, |(d, ..)| *d);
        Ok(PolicySpec {
            name: name.get().trim().to_owned(),
            decision,
            include: include.build().map_err(|missing| ("/include", missing))?,
            require: require.build().map_err(|missing| ("/require", missing))?,
            exclude: exclude.build().map_err(|missing| ("/exclude", missing))?,
        })
    };
    let lacks = lacking(Thing::Account);
    let unsaved = Signal::derive(move || blocked.get().or_else(|| lacks.get().filter(|_| !existing)));
    let sending = Sending::new();
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let spec = match untrack(build) {
            Ok(spec) => spec,
            Err((pointer, missing)) => return sending.refuse(pointer, missing),
        };
        let done = move |saved: Policy| {
            toasts.done(format!("Policy {} saved", saved.spec.name));
            version.try_set_value(saved.version);
            if !existing {
                let target = format!("/policies/{}", saved.id);
                navigate.try_with_value(|go| {
                    go(
                        &target,
                        NavigateOptions {
                            replace: true,
                            ..NavigateOptions::default()
                        },
                    )
                });
            }
            remote.put(Some(saved));
        };
        match id.get_value() {
            Some(id) => {
                let act = Act::counted(
                    "Save policy",
                    &spec.name,
                    "By this change, people or agents lose access to the apps that use it.",
                )
                .asks(format!("Save {}?", spec.name));
                let write = Write::patch(&format!("/policies/{id}"), version.get_value(), &spec);
                acts.save(sending, act, write, done);
            }
            None => {
                let Ok(account) = account.get_untracked().parse::<AccountId>() else {
                    return sending.refuse("/account", "choose an account");
                };
                let mut body = serde_json::to_value(&spec).unwrap_or_default();
                body["account"] = json!(account);
                sending.write(Write::post("/policies", &body), done);
            }
        }
    };
    let draft = Callback::new(move |()| {
        untrack(build).map_err(|(_, missing)| missing).map(|mut spec| {
            // A draft without a name is still worth a test.
            if spec.name.is_empty() {
                spec.name = "This draft".into();
            }
            spec
        })
    });
    let decisions = DECISIONS
        .iter()
        .map(|(_, key, text)| ((*key).to_owned(), (*text).to_owned()))
        .collect::<Vec<_>>();
    view! {
        <div class="flex flex-col gap-6">
            <form class="panel flex flex-col gap-6 p-4" on:submit=save>
                <div class="grid gap-4 md:grid-cols-2">
                    {(!existing).then(|| view! { <Choice of=Thing::Account label="Account" value=account error=sending.at("/account") /> })}
                    <TextField label="Name" value=name required=true hint="Shown wherever this policy decides." error=sending.at("/name") />
                    <Select label="Decision" value=decision options=Signal::stored(decisions) error=sending.at("/decision") />
                </div>
                <SelectorList drafts=include label="Include" hint="At least one of these must match." blocked error=sending.at("/include") />
                <SelectorList drafts=require label="Require" hint="All of these must match, too." blocked error=sending.at("/require") />
                <SelectorList drafts=exclude label="Exclude" hint="None of these may match." blocked error=sending.at("/exclude") />
                <FormError sending />
                <div><Submit busy=sending.busy blocked=unsaved>{if existing { "Save policy" } else { "Create policy" }}</Submit></div>
            </form>
            <Tester draft />
            {existing.then(|| view! { <Delete id=id.get_value().map(|id| id.to_string()).unwrap_or_default() name blocked /> })}
        </div>
    }
}

fn blank() -> PolicySpec {
    PolicySpec {
        name: String::new(),
        decision: PolicyDecision::Allow,
        include: vec![Selector::EmailDomain {
            domain: String::new(),
        }],
        require: Vec::new(),
        exclude: Vec::new(),
    }
}

#[component]
fn Delete(id: String, name: RwSignal<String>, blocked: Signal<Option<String>>) -> impl IntoView {
    let acts = acts();
    let navigate = StoredValue::new_local(use_navigate());
    let path = StoredValue::new(format!("/policies/{id}"));
    let delete = move |()| {
        let name = name.get_untracked();
        let act = Act::counted(
            "Delete policy",
            &name,
            "It can be deleted once no app uses it. This cannot be taken back.",
        )
        .asks(format!("Delete {name}?"))
        .said("Policy deleted")
        .typed();
        acts.ask(act, Write::delete(&path.get_value()), move |()| {
            navigate.try_with_value(|go| go("/policies", NavigateOptions::default()));
        });
    };
    view! { <div><Button look=Look::Danger blocked on_press=delete>"Delete policy"</Button></div> }
}

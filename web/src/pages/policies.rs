//! Policies: who may do what, and a tester that asks the engine itself.

use crate::{
    catalogue::others,
    client::{client, query},
    me::{Need, directory, me},
    remote::Remote,
    selector::in_words,
    ui::*,
};
use leptos::prelude::*;
use wire::{Page as ListPage, Policy, PolicyDecision, Selector};

/// `/policies?account=&test=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let names = directory();
    let (test, _) = url_param("test");
    let params = ["account", "q", "cursor"].map(|name| (name, url_param(name).0));
    let policies = Remote::new(move || {
        let filters = params.map(|(name, value)| (name, value.get()));
        let path = format!(
            "/policies{}",
            query(filters.into_iter().chain([("limit", "200".to_owned())]))
        );
        async move { client.get::<ListPage<Policy>>(&path).await }
    });
    let blocked = me().blocked(&Need::EditSomewhere);
    view! {
        <PageHead title="Policies" text="Rules that apps use in order: the first that matches decides, no match means deny. They may ask about the person, the network, and the agent.">
            <NewPolicy blocked />
        </PageHead>
        <div class="mb-4 flex flex-wrap gap-3">
            <FilterSelect label="Account" param="account" options=names.account_options("All accounts") />
            {others(names.accounts, "accounts")}
            <FilterText label="Name" param="q" />
        </div>
        <div class="flex flex-col gap-6">
            <div>
                {policies.show(move |page| {
                    let found = !params[1].1.get_untracked().is_empty();
                    view! { {list(page.items, found)} <Pager next=page.next /> }.into_any()
                })}
            </div>
            <super::tester::Tester app=test.get_untracked() />
        </div>
    }
}

#[component]
fn NewPolicy(blocked: Option<String>) -> impl IntoView {
    match blocked {
        Some(why) => view! { <Button look=Look::Primary blocked=Signal::stored(Some(why)) on_press=|()| ()>"New policy"</Button> }.into_any(),
        None => view! { <a class="btn btn-sm btn-primary" href="/policies/new">"New policy"</a> }.into_any(),
    }
}

fn list(policies: Vec<Policy>, found: bool) -> AnyView {
    if policies.is_empty() && found {
        return view! { <p class="muted">"No policy has this name."</p> }.into_any();
    }
    if policies.is_empty() {
        let body = r#"{"account":"acc_…","name":"Employees","decision":"allow","include":[{"type":"email_domain","domain":"example.com"}]}"#;
        return view! {
            <Empty text="There is no policy here yet. Without one, every app denies everybody." curl=curl("POST", "/policies", body)>
                <NewPolicy blocked=me().blocked(&Need::EditSomewhere) />
            </Empty>
        }
        .into_any();
    }
    let names = directory();
    let columns = vec![
        column("Name", |p: &Policy| {
            view! { <a class="name-link inline-block py-1" href=format!("/policies/{}", p.id)>{p.spec.name.clone()}</a> }.into_any()
        })
        .sorted_by(|a, b| a.spec.name.to_lowercase().cmp(&b.spec.name.to_lowercase())),
        column("Decision", |p: &Policy| decision(p.spec.decision)),
        column("When", |p: &Policy| rules(p)),
        column("Account", move |p: &Policy| {
            let account = p.account.clone();
            (move || names.account(&account)).into_any()
        }),
        column("Used by", move |p: &Policy| {
            let (id, account) = (p.id.clone(), p.account.clone());
            let used = move || {
                let apps = names.apps.ready().unwrap_or_default();
                let used: Vec<_> = apps
                    .into_iter()
                    .filter(|app| app.spec.policies.contains(&id))
                    .map(|app| view! { <a class="link mr-2 inline-block py-1" href=format!("/apps/{}?tab=policies", app.id)>{app.spec.name}</a> })
                    .collect();
                match (used.is_empty(), names.apps.more()) {
                    (false, _) => used.into_any(),
                    (true, false) => view! { <span class="muted">"no app"</span> }.into_any(),
                    // There are apps that are not known here.
                    (true, true) => view! { <a class="link" href=format!("/apps?account={account}")>"see the apps"</a> }.into_any(),
                }
            };
            used.into_any()
        }),
    ];
    table("Policies", columns, policies)
}

/// A policy's selectors in words.
fn rules(policy: &Policy) -> AnyView {
    let names = directory();
    let part = |word: &'static str, glue: &'static str, selectors: &[Selector]| {
        let selectors = selectors.to_vec();
        (!selectors.is_empty()).then(|| {
            view! {
                <span class="block">
                    <span class="muted">{word} " "</span>
                    {move || selectors.iter().map(|selector| in_words(selector, names)).collect::<Vec<_>>().join(glue)}
                </span>
            }
        })
    };
    view! {
        {part("any of", ", ", &policy.spec.include)}
        {part("and all of", ", ", &policy.spec.require)}
        {part("but none of", ", ", &policy.spec.exclude)}
    }
    .into_any()
}

/// A decision in words.
pub(crate) fn decision(decision: PolicyDecision) -> AnyView {
    match decision {
        PolicyDecision::Allow => badge(Tone::Good, "Allow"),
        PolicyDecision::Deny => badge(Tone::Bad, "Deny"),
        PolicyDecision::ServiceAuth => badge(Tone::Neutral, "Service tokens only"),
        PolicyDecision::Bypass => badge(Tone::Careful, "Bypass"),
    }
}

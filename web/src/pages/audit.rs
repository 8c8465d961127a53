//! The audit log: filters in the URL, the chain behind each event, export.

use crate::{
    catalogue::others,
    client::{client, encode, query},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use wire::{ActorKind, AuditEvent, AuditRequest, Outcome, Page as ListPage, Timestamp};

/// Filters as they stand in the URL and in the API.
const FILTERS: &[&str] = &[
    "account", "user", "client", "grant", "app", "action", "outcome", "tool", "ip", "request", "q",
];

/// `/audit?account=&user=&client=&grant=&app=&action=&outcome=&tool=&ip=&request=&q=&range=&event=`
#[component]
pub(crate) fn Page() -> impl IntoView {
    let client = client();
    let filters: Vec<_> = FILTERS.iter().map(|name| (*name, url_param(name))).collect();
    let (range, _) = url_param("range");
    let (cursor, _) = url_param("cursor");
    let (chosen, choose) = url_param("event");
    let values: Vec<_> = filters.iter().map(|(name, (value, _))| (*name, *value)).collect();
    let filter = Memo::new(move |_| {
        let mut pairs: Vec<_> = values.iter().map(|(name, value)| (*name, value.get())).collect();
        pairs.push(("from", from(&range.get())));
        pairs
    });
    let events = Remote::new(move || {
        let pairs = filter.get().into_iter().chain([("cursor", cursor.get())]);
        let path = format!("/audit{}", query(pairs));
        async move { client.get::<ListPage<AuditEvent>>(&path).await }
    });
    view! {
        <PageHead title="Audit" text="Who did what, through which agent, at which app, allowed or denied by which rule. Nothing is ever changed or removed here.">
            <Button on_press=move |()| events.reload()>"Refresh"</Button>
            <Export filter=filter.into() />
        </PageHead>
        <Filters />
        {events
            .show(move |page| {
                if page.items.is_empty() {
                    return view! { <Empty text="No event matches. Take a filter off, or choose a longer time." /> }.into_any();
                }
                view! {
                    {list(page.items, choose)}
                    <Pager next=page.next />
                }
                    .into_any()
            })}
        <Details chosen choose events />
    }
}

/// The start of a range, as the API wants it.
fn from(range: &str) -> String {
    let seconds = match range {
        "1h" => 3_600,
        "24h" => 86_400,
        "7d" => 7 * 86_400,
        "30d" => 30 * 86_400,
        _ => return String::new(),
    };
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
    let now = (js_sys::Date::now() / 1000.0) as i64;
    Timestamp::from_seconds(now - seconds).to_string()
}

#[component]
fn Export(filter: Signal<Vec<(&'static str, String)>>) -> impl IntoView {
    if let Some(why) = me().blocked(&Need::Audit) {
        return view! { <Button blocked=Signal::stored(Some(why)) on_press=|()| ()>"Export"</Button> }
            .into_any();
    }
    let link = move |format: &'static str| {
        move || {
            format!(
                "/api/v1/audit/export{}",
                query([("format", format.to_owned())].into_iter().chain(filter.get()))
            )
        }
    };
    view! {
        <a class="btn btn-sm border-base-300 bg-base-100" href=link("ndjson") download rel="external">"Export NDJSON"</a>
        <a class="btn btn-sm border-base-300 bg-base-100" href=link("csv") download rel="external">"Export CSV"</a>
    }
    .into_any()
}

#[component]
fn Filters() -> impl IntoView {
    let names = directory();
    let fixed = |pairs: &[(&str, &str)]| {
        Signal::stored(
            pairs
                .iter()
                .map(|(k, t)| ((*k).to_owned(), (*t).to_owned()))
                .collect::<Vec<_>>(),
        )
    };
    let outcomes = fixed(&[
        ("", "Any"),
        ("allowed", "Allowed"),
        ("denied", "Denied"),
        ("success", "Success"),
        ("failure", "Failure"),
    ]);
    let ranges = fixed(&[
        ("", "All time"),
        ("1h", "Last hour"),
        ("24h", "Last 24 hours"),
        ("7d", "Last 7 days"),
        ("30d", "Last 30 days"),
    ]);
    // Filters without a field of their own come by links from other pages; here they can be taken off.
    let linked: Vec<_> = ["client", "grant", "request", "ip"]
        .iter()
        .map(|name| (*name, url_param(name)))
        .collect();
    view! {
        <div class="mb-4 flex flex-wrap items-end gap-3" role="search" aria-label="Filters">
            <FilterSelect label="Time" param="range" options=ranges />
            <FilterSelect label="Outcome" param="outcome" options=outcomes />
            <FilterSelect label="Account" param="account" options=names.account_options("Any") />
            {others(names.accounts, "accounts")}
            <FilterSelect label="App" param="app" options=names.app_options("Any") />
            {others(names.apps, "apps")}
            <FilterSelect label="Person" param="user" options=names.user_options(Some("Anybody")) />
            {others(names.users, "people")}
            <FilterText label="Action" param="action" placeholder="login. or app.update" />
            <FilterText label="MCP tool" param="tool" placeholder="create_ticket" />
            <FilterText label="Search" param="q" />
            {linked
                .into_iter()
                .map(|(name, (value, set))| {
                    move || {
                        let value = value.get();
                        (!value.is_empty())
                            .then(|| {
                                view! {
                                    <Button label=format!("Take off the filter {name}") on_press=move |()| set.run(String::new())>
                                        {format!("{name}: {} ✕", short(&value))}
                                    </Button>
                                }
                            })
                    }
                })
                .collect_view()}
        </div>
    }
}

/// The end of a long identifier is enough to recognise it.
fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= 20 {
        text.to_owned()
    } else {
        format!("…{}", text.chars().skip(count - 12).collect::<String>())
    }
}

fn list(events: Vec<AuditEvent>, choose: Callback<String>) -> AnyView {
    let columns = vec![
        column("Time", |e: &AuditEvent| moment(e.time)),
        column("Who", |e: &AuditEvent| {
            let agent = e
                .actor
                .client_name
                .clone()
                .filter(|_| e.actor.kind == ActorKind::Agent);
            view! {
                <span class="block">{who(e)}</span>
                {agent.map(|agent| view! { <span class="muted block text-[0.8125rem]">{format!("through {agent}")}</span> })}
            }
            .into_any()
        }),
        column("Action", move |e: &AuditEvent| {
            let id = e.id.to_string();
            view! {
                <button type="button" class="name-link cursor-pointer py-1 text-left whitespace-nowrap" aria-haspopup="dialog" on:click=move |_| choose.run(id.clone())>
                    {e.action.clone()}
                </button>
            }
            .into_any()
        }),
        column("What", |e: &AuditEvent| {
            let target = e
                .target
                .as_ref()
                .map(|t| t.name.clone().unwrap_or_else(|| short(&t.id)));
            view! {
                <span class="block">{target.unwrap_or_else(|| "–".into())}</span>
                <span class="muted key block max-w-64 truncate" title=what(e)>{what(e)}</span>
            }
            .into_any()
        }),
        column("Outcome", |e: &AuditEvent| {
            let times = e
                .repeated
                .as_ref()
                .map(|repeated| format!(" × {}", repeated.count));
            view! { {outcome(e.outcome)} <span class="muted">{times}</span> }.into_any()
        }),
        column("Rule", |e: &AuditEvent| {
            e.rule.as_ref().map_or_else(
                || {
                    e.reason.clone().map_or_else(dash, |reason| {
                        view! { <span class="muted">{reason}</span> }.into_any()
                    })
                },
                |rule| rule.name.clone().into_any(),
            )
        }),
    ];
    table("Audit events", columns, events)
}

/// The person, or what acted without one.
fn who(event: &AuditEvent) -> String {
    let actor = &event.actor;
    actor
        .email
        .clone()
        .or_else(|| actor.user.as_ref().map(ToString::to_string))
        .unwrap_or_else(|| {
            match actor.kind {
                ActorKind::System => "the server",
                ActorKind::Anonymous => "nobody known",
                ActorKind::Service => "a service token",
                ActorKind::Agent => "an agent",
                ActorKind::Admin => "an administrator",
                ActorKind::User => "a person",
            }
            .into()
        })
}

/// The tool that was called, or the request.
fn what(event: &AuditEvent) -> String {
    if let Some(mcp) = &event.mcp {
        return mcp.tool.clone().unwrap_or_else(|| mcp.method.clone());
    }
    event
        .request
        .as_ref()
        .map(|r| format!("{} {}", r.method, r.path))
        .unwrap_or_default()
}

fn outcome(outcome: Outcome) -> AnyView {
    match outcome {
        Outcome::Allowed => badge(Tone::Good, "Allowed"),
        Outcome::Success => badge(Tone::Good, "Success"),
        Outcome::Denied => badge(Tone::Bad, "Denied"),
        Outcome::Failure => badge(Tone::Bad, "Failure"),
    }
}

/// The event that the URL names, at the right edge.
#[component]
fn Details(
    chosen: Signal<String>,
    choose: Callback<String>,
    events: Remote<ListPage<AuditEvent>>,
) -> impl IntoView {
    let client = client();
    let open = RwSignal::new(false);
    Effect::new(move |_| open.set(!chosen.get().is_empty()));
    Effect::new(move |before: Option<bool>| {
        let now = open.get();
        if before == Some(true) && !now && !chosen.get_untracked().is_empty() {
            choose.run(String::new());
        }
        now
    });
    let event = Remote::new(move || {
        let id = chosen.get();
        let listed = untrack(|| {
            events
                .with(|page| page.items.iter().find(|e| e.id.to_string() == id).cloned())
                .flatten()
        });
        async move {
            match listed {
                Some(event) => Ok(Some(event)),
                None if id.is_empty() => Ok(None),
                None => client
                    .get::<AuditEvent>(&format!("/audit/{}", encode(&id)))
                    .await
                    .map(Some),
            }
        }
    });
    view! {
        <Dialog open title="Event" side=true>
            {event.show(|event| event.map_or_else(|| ().into_any(), |event| details(&event)))}
        </Dialog>
    }
}

fn details(event: &AuditEvent) -> AnyView {
    let json = serde_json::to_string_pretty(event).unwrap_or_default();
    let curl = format!(
        "curl -H \"Authorization: Bearer $CHATELAINE_TOKEN\" {}/api/v1/audit/{}",
        window().location().origin().unwrap_or_default(),
        event.id
    );
    let mut rows = vec![
        ("Action", view! { <span class="font-semibold">{event.action.clone()}</span> }.into_any()),
        ("Time", view! { <span>{moment(event.time)} <span class="muted">{format!(" ({})", event.time)}</span></span> }.into_any()),
        ("Outcome", outcome(event.outcome)),
    ];
    if let Some(reason) = &event.reason {
        rows.push((
            "Reason",
            view! { <span class="key">{reason.clone()}</span> }.into_any(),
        ));
    }
    if let Some(mcp) = &event.mcp {
        let tool = mcp
            .tool
            .as_ref()
            .map(|tool| format!(" · {tool}"))
            .unwrap_or_default();
        rows.push((
            "MCP",
            view! { <span class="key">{format!("{}{tool}", mcp.method)}</span> }.into_any(),
        ));
    }
    if let Some(request) = &event.request {
        request_rows(request, &mut rows);
    }
    if let Some(response) = &event.response {
        #[expect(clippy::cast_precision_loss, reason = "for reading")]
        let millis = response.micros as f64 / 1000.0;
        rows.push((
            "Origin's answer",
            format!("{} after {millis:.1} ms", response.status).into_any(),
        ));
    }
    if event.outcome_unknown {
        rows.push((
            "Origin's answer",
            "not known: the record was made before the request went out".into_any(),
        ));
    }
    if let Some(repeated) = &event.repeated {
        rows.push((
            "How often",
            format!(
                "{} times, from {} to {}",
                repeated.count, repeated.first, repeated.last
            )
            .into_any(),
        ));
    }
    rows.push(("Recorded by", event.source.clone().into_any()));
    rows.push(("Position", format!("{}", event.seq).into_any()));
    rows.push(("Identifier", copyable(event.id.to_string(), "event identifier")));
    view! {
        <div class="flex flex-col gap-6">
            {chain(event)} {facts(rows)} {event.change.as_ref().map(|change| change_table(&change.before, &change.after))}
            <section class="flex flex-col gap-2">
                <h3 class="font-semibold">"As recorded"</h3>
                <CodeBlock text=Signal::stored(json) label="event as JSON" />
                <details>
                    <summary class="muted w-fit cursor-pointer py-1">"As curl"</summary>
                    <CodeBlock text=Signal::stored(curl) label="curl command" />
                </details>
            </section>
        </div>
    }
    .into_any()
}

fn request_rows(request: &AuditRequest, rows: &mut Vec<(&'static str, AnyView)>) {
    let line = format!("{} {}", request.method, request.path);
    rows.push(("Request", view! { <span class="key">{line}</span> }.into_any()));
    if let Some(ip) = &request.ip {
        let link = format!("/audit?ip={}", encode(ip));
        rows.push((
            "From",
            view! { <a class="link key" href=link>{ip.clone()}</a> }.into_any(),
        ));
    }
    if let Some(agent) = &request.user_agent {
        rows.push(("User agent", agent.clone().into_any()));
    }
    let link = format!("/audit?request={}", encode(&request.id));
    rows.push((
        "Request id",
        view! { <a class="link key" href=link>{request.id.clone()}</a> }.into_any(),
    ));
}

/// user ← agent ← grant ← rule, each a link to what it names.
fn chain(event: &AuditEvent) -> AnyView {
    let actor = &event.actor;
    let mut links: Vec<(&'static str, String, Option<String>)> = vec![(
        "Person",
        who(event),
        actor.user.as_ref().map(|id| format!("/people/{id}")),
    )];
    if let Some(client) = &actor.client {
        let name = actor.client_name.clone().unwrap_or_else(|| client.to_string());
        links.push(("Agent", name, Some(format!("/agents/{client}"))));
    }
    if let Some(grant) = &actor.grant {
        links.push((
            "Grant",
            short(grant.as_ref()),
            Some(format!("/audit?grant={grant}")),
        ));
    }
    if !actor.scopes.is_empty() {
        links.push(("Scopes", actor.scopes.join(" "), None));
    }
    if let Some(target) = &event.target {
        let name = target.name.clone().unwrap_or_else(|| short(&target.id));
        links.push(("To", name, target.app.as_ref().map(|app| format!("/apps/{app}"))));
        if let Some(user) = &target.user {
            links.push(("Whose", short(user.as_ref()), Some(format!("/people/{user}"))));
        }
    }
    if let Some(rule) = &event.rule {
        let link = if rule.id.starts_with("pol_") {
            format!("/policies/{}", rule.id)
        } else {
            "/settings".into()
        };
        links.push(("Rule", rule.name.clone(), Some(link)));
    }
    view! {
        <section aria-label="Chain of responsibility">
            <ol class="flex flex-wrap items-stretch gap-2">
                {links
                    .into_iter()
                    .enumerate()
                    .map(|(index, (kind, name, link))| {
                        view! {
                            <li class="flex items-center gap-2">
                                {(index > 0).then(|| view! { <span class="muted" aria-hidden="true">"←"</span> })}
                                <span class="panel bg-base-200 px-3 py-1.5">
                                    <span class="muted block text-xs">{kind}</span>
                                    {match link {
                                        Some(link) => view! { <a class="name-link break-all" href=link>{name}</a> }.into_any(),
                                        None => view! { <span class="break-all font-semibold">{name}</span> }.into_any(),
                                    }}
                                </span>
                            </li>
                        }
                    })
                    .collect_view()}
            </ol>
        </section>
    }
    .into_any()
}

/// Before and after, field by field.
pub(super) fn change_table(before: &serde_json::Value, after: &serde_json::Value) -> AnyView {
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value
            .as_object()
            .map(|map| map.keys().cloned().collect())
            .unwrap_or_default()
    };
    let mut fields = keys(before);
    fields.extend(keys(after));
    fields.sort();
    fields.dedup();
    let show = |value: &serde_json::Value, field: &str| {
        value.get(field).map_or_else(
            || "–".to_owned(),
            |value| match value {
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            },
        )
    };
    let rows = fields
        .iter()
        .map(|field| {
            view! {
                <tr class="border-t border-base-300 align-top">
                    <th scope="row" class="px-3 py-2 font-medium">{field.clone()}</th>
                    <td class="key text-error px-3 py-2 break-all">{show(before, field)}</td>
                    <td class="key text-success px-3 py-2 break-all">{show(after, field)}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <section class="flex flex-col gap-2">
            <h3 class="font-semibold">"Change"</h3>
            <div class="panel relative overflow-x-auto" tabindex="0" role="region" aria-label="Change">
                <table class="w-full text-left">
                    <thead class="bg-base-200 muted text-[0.8125rem]">
                        <tr>
                            <th scope="col" class="px-3 py-1.5 font-medium">"Field"</th>
                            <th scope="col" class="px-3 py-1.5 font-medium">"Before"</th>
                            <th scope="col" class="px-3 py-1.5 font-medium">"After"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
        </section>
    }
    .into_any()
}

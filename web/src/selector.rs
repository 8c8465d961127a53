//! Selectors (the questions of a rule): editing them row by row, and saying them in words.

use crate::{
    me::{Directory, directory},
    ui::{Button, Look, option_views, unique},
};
use leptos::prelude::*;
use serde_json::{Value, json};
use wire::{Actor, ClientTier, Selector};

const KINDS: &[(&str, &str)] = &[
    ("everyone", "Everyone"),
    ("email", "E-mail address"),
    ("email_list", "One of several e-mail addresses"),
    ("email_domain", "E-mail domain"),
    ("group", "Group"),
    ("claim", "Claim of the identity provider"),
    ("connection", "Signed in through"),
    ("mfa", "Second factor used"),
    ("auth_method", "Way of signing in"),
    ("time", "Time of the week"),
    ("ip", "Network"),
    ("actor", "Who acts"),
    ("client_tier", "Agent trust at least"),
    ("client", "This agent"),
    ("scope", "Token scope"),
    ("request", "Method and path"),
    ("mcp_tool", "MCP tool"),
    ("any_service_token", "Any service token"),
    ("service_token", "Service token"),
];

/// One row of the editor: a kind and up to two texts.
#[derive(Clone, Copy)]
pub(crate) struct Draft {
    id: usize,
    kind: RwSignal<String>,
    first: RwSignal<String>,
    second: RwSignal<String>,
}

impl Draft {
    fn new(id: usize, kind: &str, first: &str, second: &str) -> Self {
        let signal = |text: &str| RwSignal::new(text.to_owned());
        Self {
            id,
            kind: signal(kind),
            first: signal(first),
            second: signal(second),
        }
    }

    fn of(id: usize, selector: &Selector) -> Self {
        let value = serde_json::to_value(selector).unwrap_or_default();
        let text = |key: &str| match &value[key] {
            Value::String(text) => text.clone(),
            Value::Array(items) => items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(", "),
            _ => String::new(),
        };
        let kind = text("type");
        if let Selector::Time {
            days,
            from,
            to,
            utc_offset_minutes,
        } = selector
        {
            let days = serde_json::to_value(days).unwrap_or_default();
            let days: Vec<_> = days
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            return Self::new(id, &kind, &days.join(", "), &times(from, to, *utc_offset_minutes));
        }
        let (first, second) = keys(&kind);
        Self::new(id, &kind, &text(first), &text(second))
    }

    /// The selector, or what is missing.
    fn build(self) -> Result<Selector, String> {
        let kind = self.kind.get();
        let (first, second) = (
            self.first.get().trim().to_owned(),
            self.second.get().trim().to_owned(),
        );
        let list = |text: &str| -> Vec<String> {
            text.split([',', ' '])
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let mut value = json!({ "type": kind });
        let (first_key, second_key) = keys(&kind);
        match kind.as_str() {
            "everyone" | "mfa" | "any_service_token" => {}
            "ip" => value["ranges"] = json!(list(&first)),
            "email_list" => value["emails"] = json!(list(&first)),
            "auth_method" => {
                value["amr"] = json!(list(&first));
                value["acr"] = json!(list(&second));
            }
            "time" => {
                let (from, to, offset) = read_times(&second).ok_or(
                    "Time of the week: write it as 09:00-17:00 UTC+01:00, with an offset of at most 14 hours",
                )?;
                value["days"] = json!(list(&first.to_lowercase()));
                value["from"] = json!(from);
                value["to"] = json!(to);
                value["utc_offset_minutes"] = json!(offset);
            }
            "request" => {
                value["methods"] = json!(list(&first.to_uppercase()));
                value["path"] = if second.is_empty() {
                    Value::Null
                } else {
                    json!(second)
                };
            }
            _ if first.is_empty() => return Err(format!("{} needs a value", label(&kind))),
            "claim" => {
                value[first_key] = json!(first);
                value[second_key] = json!(second);
            }
            _ => value[first_key] = json!(first),
        }
        serde_json::from_value(value).map_err(|error| format!("{}: {error}", label(&kind)))
    }
}

/// `09:00-17:00 UTC+01:00`.
fn times(from: &str, to: &str, offset: i32) -> String {
    let sign = if offset < 0 { '-' } else { '+' };
    let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
    format!("{from}-{to} UTC{sign}{hours:02}:{minutes:02}")
}

/// What [`times`] writes; UTC if it says nothing else.
fn read_times(text: &str) -> Option<(&str, &str, i32)> {
    let (window, zone) = text.split_once("UTC").unwrap_or((text, ""));
    let (from, to) = window.trim().split_once(['-', '–'])?;
    let zone = zone.trim();
    let offset = if zone.is_empty() {
        0
    } else {
        let (sign, rest) = zone.split_at_checked(1)?;
        let sign = match sign {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "0"));
        let (hours, minutes) = (hours.parse::<i32>().ok()?, minutes.parse::<i32>().ok()?);
        // No place on earth is farther from UTC.
        let known = (0..=14).contains(&hours) && (0..60).contains(&minutes) && hours * 60 + minutes <= 840;
        known.then(|| sign * (hours * 60 + minutes))?
    };
    Some((from.trim(), to.trim(), offset))
}

fn label(kind: &str) -> &'static str {
    KINDS
        .iter()
        .find(|(key, _)| *key == kind)
        .map_or("This rule", |(_, label)| label)
}

/// Where the two texts of a kind stand in its JSON.
fn keys(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "email" => ("email", ""),
        "email_list" => ("emails", ""),
        "auth_method" => ("amr", "acr"),
        "email_domain" => ("domain", ""),
        "group" => ("group", ""),
        "claim" => ("name", "value"),
        "connection" => ("connection", ""),
        "ip" => ("ranges", ""),
        "service_token" => ("service_token", ""),
        "client" => ("client", ""),
        "client_tier" => ("at_least", ""),
        "actor" => ("actor", ""),
        "scope" => ("scope", ""),
        "request" => ("methods", "path"),
        "mcp_tool" => ("tool", ""),
        _ => ("", ""),
    }
}

/// A list of selectors being edited.
#[derive(Clone, Copy)]
pub(crate) struct Drafts {
    rows: RwSignal<Vec<Draft>>,
    last: StoredValue<usize>,
}

impl Drafts {
    pub(crate) fn of(selectors: &[Selector]) -> Self {
        let rows: Vec<_> = selectors
            .iter()
            .enumerate()
            .map(|(id, selector)| Draft::of(id, selector))
            .collect();
        Self {
            last: StoredValue::new(rows.len()),
            rows: RwSignal::new(rows),
        }
    }

    /// The selectors, or what is missing in the first that is not complete. Tracks.
    pub(crate) fn build(self) -> Result<Vec<Selector>, String> {
        self.rows.get().into_iter().map(Draft::build).collect()
    }

    fn add(self) {
        self.last.update_value(|last| *last += 1);
        let id = self.last.get_value();
        self.rows
            .update(|rows| rows.push(Draft::new(id, "email_domain", "", "")));
    }
}

/// Rows of selectors with a way to add and remove.
#[component]
pub(crate) fn SelectorList(
    drafts: Drafts,
    #[prop(into)] label: String,
    #[prop(into)] hint: String,
    #[prop(optional, into)] blocked: Signal<Option<String>>,
    #[prop(optional, into)] error: Signal<Option<String>>,
) -> impl IntoView {
    view! {
        <fieldset class="flex min-w-0 flex-col gap-2">
            <legend class="mb-1">
                <span class="font-medium">{label.clone()}</span>
                <span class="muted block text-[0.8125rem]">{hint}</span>
            </legend>
            <For each=move || drafts.rows.get() key=|draft| draft.id let:draft>
                <Row draft blocked remove=move |()| drafts.rows.update(|rows| rows.retain(|row| row.id != draft.id)) />
            </For>
            <p class="text-error text-[0.8125rem] empty:hidden">{move || error.get()}</p>
            <div>
                <Button look=Look::Quiet blocked label=format!("Add to {label}") on_press=move |()| drafts.add()>"+ Add"</Button>
            </div>
        </fieldset>
    }
}

#[component]
fn Row(draft: Draft, blocked: Signal<Option<String>>, #[prop(into)] remove: Callback<()>) -> impl IntoView {
    let names = directory();
    let kinds: Vec<_> = KINDS
        .iter()
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
        .collect();
    let disabled = move || blocked.get().is_some();
    let choose = move |event| {
        draft.kind.set(event_target_value(&event));
        draft.first.set(String::new());
        draft.second.set(String::new());
    };
    view! {
        <div class="flex flex-wrap items-center gap-2">
            <select class="select select-sm w-full sm:w-56" aria-label="Kind of rule" disabled=disabled on:change=choose>
                {option_views(kinds, draft.kind)}
            </select>
            <div class="flex min-w-48 grow flex-wrap gap-2">
                {move || values(draft, names, disabled())}
            </div>
            <Button look=Look::Quiet label="Remove this rule" blocked on_press=move |()| remove.run(())>"✕"</Button>
        </div>
    }
}

fn values(draft: Draft, names: Directory, disabled: bool) -> AnyView {
    let text = |label: &'static str, placeholder: &'static str, value: RwSignal<String>| {
        view! {
            <input
                class="input input-sm min-w-32 grow basis-0"
                aria-label=label
                placeholder=placeholder
                autocomplete="off"
                spellcheck="false"
                disabled=disabled
                prop:value=move || value.get()
                on:input=move |event| value.set(event_target_value(&event))
            />
        }
        .into_any()
    };
    let pick = |label: &'static str, options: Vec<(String, String)>| {
        let value = draft.first;
        let known = options.iter().any(|(key, _)| *key == value.get_untracked());
        if !known && let Some((first, _)) = options.first() {
            value.set(first.clone());
        }
        let id = unique("selector");
        view! {
            <select id=id class="select select-sm grow" aria-label=label disabled=disabled on:change=move |event| value.set(event_target_value(&event))>
                {option_views(options, value)}
            </select>
        }
        .into_any()
    };
    let fixed = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(k, t)| ((*k).to_owned(), (*t).to_owned()))
            .collect()
    };
    match draft.kind.get().as_str() {
        "email" => text("E-mail address", "ada@example.com", draft.first),
        "email_domain" => text("Domain", "example.com", draft.first),
        "email_list" => text("E-mail addresses", "ada@example.com, bob@example.com", draft.first),
        "auth_method" => view! { {text("amr", "hwk, otp (any of these)", draft.first)} {text("acr", "phr (any of these)", draft.second)} }
            .into_any(),
        "time" => view! { {text("Days", "mon, tue (empty: every day)", draft.first)} {text("Hours", "09:00-17:00 UTC+01:00", draft.second)} }
            .into_any(),
        "group" => match names.groups.ready() {
            Some(groups) if groups.is_empty() => view! {
                <span class="self-center text-warning">"A group is needed first. " <a class="link" href="/people?tab=groups">"To the groups"</a></span>
            }
            .into_any(),
            groups => pick(
                "Group",
                groups.unwrap_or_default().into_iter().map(|g| (g.id.to_string(), g.spec.name)).collect(),
            ),
        },
        "claim" => view! { {text("Claim name", "groups", draft.first)} {text("Value", "engineering", draft.second)} }.into_any(),
        "connection" => pick("Connection", names.connection_options().get()),
        "ip" => text("Networks", "10.0.0.0/8, 2001:db8::/32", draft.first),
        "service_token" => text("Service token", "svc_…", draft.first),
        "client" => text("Agent", "cli_…, https://… or a host name", draft.first),
        "client_tier" => pick(
            "Trust",
            fixed(&[
                ("approved", "Approved"),
                ("domain_verified", "Domain verified"),
                ("unverified", "Unverified"),
                ("localhost", "Localhost"),
            ]),
        ),
        "actor" => pick(
            "Who acts",
            fixed(&[("browser", "A person in a browser"), ("agent", "An agent for a person"), ("service", "A service token")]),
        ),
        "scope" => text("Scope", "read", draft.first),
        "request" => view! { {text("Methods", "GET, HEAD (empty: any)", draft.first)} {text("Path", "/wiki/** (empty: any)", draft.second)} }
            .into_any(),
        "mcp_tool" => text("Tool", "list_* or create_ticket", draft.first),
        _ => view! { <span class="muted">"nothing else to say"</span> }.into_any(),
    }
}

/// A selector in words. Tracks the names.
pub(crate) fn in_words(selector: &Selector, names: Directory) -> String {
    match selector {
        Selector::Everyone {} => "everyone".into(),
        Selector::Email { email } => format!("e-mail {email}"),
        Selector::EmailDomain { domain } => format!("e-mail @{domain}"),
        Selector::Group { group } => format!("group {}", names.group(group)),
        Selector::Claim { name, value } => format!("claim {name} = {value}"),
        Selector::Connection { connection } => format!("signed in through {}", names.connection(connection)),
        Selector::Ip { ranges } => format!("network {}", ranges.join(", ")),
        Selector::ServiceToken { service_token } => format!("service token {service_token}"),
        Selector::AnyServiceToken {} => "any service token".into(),
        Selector::Client { client } => format!("agent {client}"),
        Selector::ClientTier { at_least } => format!("agent at least {}", tier(*at_least)),
        Selector::Actor {
            actor: Actor::Browser,
        } => "a person in a browser".into(),
        Selector::Actor { actor: Actor::Agent } => "an agent".into(),
        Selector::Actor {
            actor: Actor::Service,
        } => "a service token".into(),
        Selector::Scope { scope } => format!("scope {scope}"),
        Selector::Request { methods, path } => {
            let methods = if methods.is_empty() {
                "any method".to_owned()
            } else {
                methods.join(", ")
            };
            format!("{methods} on {}", path.as_deref().unwrap_or("any path"))
        }
        Selector::McpTool { tool } => format!("tool {tool}"),
        Selector::Mfa {} => "second factor".into(),
        Selector::EmailList { emails } => match emails.as_slice() {
            [first, rest @ ..] if rest.len() > 2 => format!("e-mail {first} or {} others", rest.len()),
            all => format!("e-mail {}", all.join(" or ")),
        },
        Selector::AuthMethod { amr, acr } => {
            let all: Vec<_> = amr.iter().chain(acr).map(String::as_str).collect();
            format!("signed in with {}", all.join(" or "))
        }
        Selector::Time {
            days,
            from,
            to,
            utc_offset_minutes,
        } => {
            let days: Vec<_> = days.iter().map(|day| format!("{day:?}")).collect();
            let days = if days.is_empty() {
                "every day".to_owned()
            } else {
                days.join(", ")
            };
            format!("{days} {}", times(from, to, *utc_offset_minutes))
        }
    }
}

/// A tier in words.
pub(crate) fn tier(tier: ClientTier) -> &'static str {
    match tier {
        ClientTier::Approved => "approved",
        ClientTier::DomainVerified => "domain verified",
        ClientTier::Unverified => "unverified",
        ClientTier::Localhost => "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::from_value;

    fn samples() -> Vec<Selector> {
        let id = |prefix: &str| format!("{prefix}_{:032x}", 1);
        [
            json!({"type": "everyone"}),
            json!({"type": "email", "email": "ada@acme.example"}),
            json!({"type": "email_domain", "domain": "acme.example"}),
            json!({"type": "group", "group": id("grp")}),
            json!({"type": "claim", "name": "groups", "value": "staff"}),
            json!({"type": "connection", "connection": id("con")}),
            json!({"type": "ip", "ranges": ["10.0.0.0/8", "2001:db8::/32"]}),
            json!({"type": "service_token", "service_token": id("svc")}),
            json!({"type": "any_service_token"}),
            json!({"type": "client", "client": "vscode.dev"}),
            json!({"type": "client_tier", "at_least": "domain_verified"}),
            json!({"type": "actor", "actor": "agent"}),
            json!({"type": "scope", "scope": "read"}),
            json!({"type": "request", "methods": ["GET", "HEAD"], "path": "/wiki/**"}),
            json!({"type": "request", "methods": [], "path": null}),
            json!({"type": "mcp_tool", "tool": "list_*"}),
            json!({"type": "mfa"}),
            json!({"type": "email_list", "emails": ["ada@acme.example", "bob@acme.example"]}),
            json!({"type": "auth_method", "amr": ["hwk", "otp"], "acr": []}),
            json!({"type": "auth_method", "amr": [], "acr": ["phr"]}),
            json!({"type": "time", "days": ["mon", "fri"], "from": "09:00", "to": "17:00", "utc_offset_minutes": -330}),
            json!({"type": "time", "days": [], "from": "22:00", "to": "06:00", "utc_offset_minutes": 0}),
        ]
        .into_iter()
        .map(|value| from_value(value).unwrap())
        .collect()
    }

    #[test]
    fn every_selector_survives_the_editor_and_has_a_label() {
        Owner::new().with(|| {
            let all = samples();
            assert_eq!(Drafts::of(&all).build(), Ok(all.clone()));
            for selector in &all {
                let value = serde_json::to_value(selector).unwrap();
                assert!(KINDS.iter().any(|(kind, _)| *kind == value["type"]), "{value}");
            }
        });
    }

    #[test]
    fn an_offset_that_no_place_has_is_refused_in_the_form_in_which_it_is_typed() {
        assert_eq!(
            read_times("09:00-17:00 UTC-14:00"),
            Some(("09:00", "17:00", -840))
        );
        for far in ["UTC+14:01", "UTC+99999999", "UTC-15", "UTC+01:75"] {
            assert_eq!(read_times(&format!("09:00-17:00 {far}")), None, "{far}");
        }
    }

    #[test]
    fn a_row_without_its_value_is_named() {
        Owner::new().with(|| {
            let missing = Drafts::of(&[Selector::EmailDomain { domain: " ".into() }]);
            assert_eq!(missing.build(), Err("E-mail domain needs a value".into()));
        });
    }
}

//! Commands to copy: how to add the app to an agent, and what an agent sees first.

use crate::ui::*;
use leptos::prelude::*;
use serde_json::json;
use wire::{App, AppKind};

#[component]
pub(super) fn TryIt(app: Signal<App>) -> impl IntoView {
    move || {
        let app = app.get();
        let blocks = if app.spec.kind == AppKind::Mcp {
            agents(&app)
        } else {
            web(&app)
        };
        view! {
            <div class="flex flex-col gap-4">
                {(!app.spec.managed_oauth)
                    .then(|| {
                        view! { <p class="text-warning font-medium">"Managed OAuth is off: an agent will be refused until it is switched on."</p> }
                    })}
                {blocks
                    .into_iter()
                    .map(|(name, hint, text)| {
                        view! {
                            <section class="flex flex-col gap-1">
                                <h3 class="font-medium">{name}</h3>
                                <p class="muted">{hint}</p>
                                <CodeBlock text=Signal::stored(text) label=format!("the text for {name}") />
                            </section>
                        }
                    })
                    .collect_view()}
            </div>
        }
    }
}

type Block = (&'static str, &'static str, String);

fn agents(app: &App) -> Vec<Block> {
    let url = &app.spec.public_url;
    let name = slug(&app.spec.name);
    let cursor = json!({ "mcpServers": { &name: { "url": url } } });
    let vscode = json!({ "name": name, "type": "http", "url": url });
    vec![
        (
            "Claude Code",
            "The second command opens the browser; in a session, /mcp does the same.",
            format!("claude mcp add --transport http {name} {url}\nclaude mcp login {name}"),
        ),
        (
            "Codex",
            "It opens the browser at once; later, codex mcp login does.",
            format!("codex mcp add {name} --url {url}"),
        ),
        (
            "Cursor",
            "Put this into ~/.cursor/mcp.json.",
            serde_json::to_string_pretty(&cursor).unwrap_or_default(),
        ),
        (
            "VS Code",
            "Or run “MCP: Add Server” and paste the URL.",
            format!("code --add-mcp '{vscode}'"),
        ),
        (
            "curl",
            "What an agent sees first: 401, and where to read on.",
            format!(
                "curl -i -X POST {url} \\\n  -H 'Content-Type: application/json' \\\n  -H 'Accept: application/json, text/event-stream' \\\n  -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}}'"
            ),
        ),
    ]
}

fn web(app: &App) -> Vec<Block> {
    let url = &app.spec.public_url;
    vec![
        ("Browser", "People open this address and sign in.", url.clone()),
        (
            "curl",
            "What an agent sees first: 401, and where to read on.",
            format!("curl -i {url}"),
        ),
        (
            "curl with a token",
            "A token that an agent got for this app.",
            format!("curl -i {url} -H \"Authorization: Bearer $ACCESS_TOKEN\""),
        ),
    ]
}

/// A name that every agent accepts for a server.
fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
    }
    let out = out.trim_matches('-');
    if out.is_empty() { "app".into() } else { out.into() }
}

#[cfg(test)]
mod tests {
    use super::slug;

    #[test]
    fn names_of_servers_are_plain_words_with_hyphens() {
        for (name, expected) in [
            ("Tickets", "tickets"),
            ("Lab tickets (2)", "lab-tickets-2"),
            ("  ", "app"),
            ("Ärger", "rger"),
        ] {
            assert_eq!(slug(name), expected, "{name}");
        }
    }
}

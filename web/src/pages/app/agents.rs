//! Rules for agents: who may register, scopes, lifetimes.

use super::Subject;
use crate::ui::*;
use leptos::prelude::*;
use serde_json::json;
use wire::{Cover, RedirectPreset, ScopeSpec};

const PRESETS: &[(RedirectPreset, &str, &str)] = &[
    (
        RedirectPreset::Loopback,
        "This computer (loopback)",
        "Command-line agents such as Claude Code and Codex",
    ),
    (RedirectPreset::Claude, "Claude", "claude.ai and claude.com"),
    (RedirectPreset::Chatgpt, "ChatGPT", "chatgpt.com connectors"),
    (
        RedirectPreset::Vscode,
        "VS Code",
        "vscode.dev, insiders.vscode.dev and loopback",
    ),
    (RedirectPreset::Cursor, "Cursor", "The editor and its web agents"),
];

/// How long an access token may last.
const TOKEN: Span = Span::minutes(60..=86_400);
/// How long a grant may last.
const GRANT: Span = Span::days(300..=31_536_000);

/// How long a refresh token that was used returns its successor.
const ROTATION: Span = Span::seconds(30..=600);

#[derive(Clone, Copy)]
struct ScopeDraft {
    id: usize,
    name: RwSignal<String>,
    description: RwSignal<String>,
    methods: RwSignal<String>,
    path: RwSignal<String>,
    tools: RwSignal<String>,
    /// Further covers, kept as they are: the form edits the first.
    others: StoredValue<Vec<Cover>>,
}

impl ScopeDraft {
    fn of(id: usize, scope: &ScopeSpec) -> Self {
        let cover = scope.covers.first().cloned().unwrap_or_default();
        Self {
            id,
            name: RwSignal::new(scope.name.clone()),
            description: RwSignal::new(scope.description.clone()),
            methods: RwSignal::new(cover.methods.join(", ")),
            path: RwSignal::new(cover.path.unwrap_or_default()),
            tools: RwSignal::new(cover.tools.unwrap_or_default().join(", ")),
            others: StoredValue::new(scope.covers.iter().skip(1).cloned().collect()),
        }
    }

    fn build(self) -> ScopeSpec {
        let tools = list(&self.tools.get_untracked());
        let path = self.path.get_untracked().trim().to_owned();
        let first = Cover {
            methods: list(&self.methods.get_untracked().to_uppercase()),
            path: (!path.is_empty()).then_some(path),
            tools: (!tools.is_empty()).then_some(tools),
        };
        ScopeSpec {
            name: self.name.get_untracked().trim().to_owned(),
            description: self.description.get_untracked().trim().to_owned(),
            covers: std::iter::once(first).chain(self.others.get_value()).collect(),
        }
    }
}

/// Words between commas, blanks and line ends.
fn list(text: &str) -> Vec<String> {
    text.split([',', ' ', '\n'])
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

#[component]
pub(super) fn Agents(subject: Subject) -> impl IntoView {
    let oauth = subject.app.get_untracked().spec.oauth;
    let rules = oauth.registration;
    let blocked = subject.blocked;
    let dynamic = RwSignal::new(rules.dynamic);
    let documents = RwSignal::new(rules.metadata_documents);
    let approval = RwSignal::new(rules.approval);
    let tier = RwSignal::new(
        serde_json::to_value(rules.lowest_tier)
            .ok()
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default(),
    );
    let presets = PRESETS
        .iter()
        .map(|(preset, label, hint)| {
            (
                *preset,
                *label,
                *hint,
                RwSignal::new(rules.redirect_presets.contains(preset)),
            )
        })
        .collect::<Vec<_>>();
    let uris = RwSignal::new(rules.redirect_uris.join("\n"));
    let token_minutes = RwSignal::new(TOKEN.text(oauth.access_token_seconds));
    let grant_days = RwSignal::new(GRANT.text(oauth.grant_seconds));
    let openid = RwSignal::new(oauth.openid);
    let rotation = RwSignal::new(ROTATION.text(oauth.rotation_seconds));
    let scopes = RwSignal::new(
        oauth
            .scopes
            .iter()
            .enumerate()
            .map(|(id, scope)| ScopeDraft::of(id, scope))
            .collect::<Vec<_>>(),
    );
    let last = StoredValue::new(oauth.scopes.len());
    let sending = Sending::new();
    let stored = StoredValue::new(presets.clone());
    let save = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let access_token_seconds = match TOKEN.read(&token_minutes.get_untracked()) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/oauth/access_token_seconds", why),
        };
        let grant_seconds = match GRANT.read(&grant_days.get_untracked()) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/oauth/grant_seconds", why),
        };
        let rotation_seconds = match ROTATION.read(&rotation.get_untracked()) {
            Ok(seconds) => seconds,
            Err(why) => return sending.refuse("/oauth/rotation_seconds", why),
        };
        let chosen: Vec<_> = stored.with_value(|presets| {
            presets
                .iter()
                .filter(|(.., on)| on.get_untracked())
                .map(|(preset, ..)| *preset)
                .collect()
        });
        let patch = json!({ "oauth": {
            "scopes": scopes.get_untracked().into_iter().map(ScopeDraft::build).collect::<Vec<_>>(),
            "access_token_seconds": access_token_seconds,
            "grant_seconds": grant_seconds,
            "rotation_seconds": rotation_seconds,
            "openid": openid.get_untracked(),
            "registration": {
                "dynamic": dynamic.get_untracked(),
                "metadata_documents": documents.get_untracked(),
                "lowest_tier": tier.get_untracked(),
                "approval": approval.get_untracked(),
                "redirect_presets": chosen,
                "redirect_uris": list(&uris.get_untracked()),
            },
        }});
        subject.save(sending, &patch, "has these rules for agents now");
    };
    let add = move |()| {
        last.update_value(|last| *last += 1);
        let blank = ScopeSpec {
            name: String::new(),
            description: String::new(),
            covers: Vec::new(),
        };
        scopes.update(|list| list.push(ScopeDraft::of(last.get_value(), &blank)));
    };
    let tiers = [
        ("localhost", "Localhost: anything that redirects to this computer"),
        ("unverified", "Unverified: registered itself"),
        (
            "domain_verified",
            "Domain verified: a metadata document proves the host",
        ),
        ("approved", "Approved: an administrator said so"),
    ]
    .map(|(key, text)| (key.to_owned(), text.to_owned()))
    .to_vec();
    view! {
        <form class="flex flex-col gap-6" on:submit=save>
            <Panel title="Who may register" hint="An agent that fits none of these is told so when it registers.">
                <div class="grid gap-x-8 gap-y-4 md:grid-cols-2">
                    <div>
                        <Checkbox label="Metadata documents" hint="The client id is an https URL that describes the agent (CIMD)" value=documents />
                        <Checkbox label="Dynamic registration" hint="The agent registers itself (RFC 7591)" value=dynamic />
                        <Checkbox label="First use waits for approval" hint="An administrator approves each new agent on the Agents page" value=approval />
                    </div>
                    <Select label="Lowest trust" value=tier options=Signal::stored(tiers) error=sending.at("/oauth/registration/lowest_tier") />
                    <fieldset>
                        <legend class="mb-1 font-medium">"Redirect URIs of known agents"</legend>
                        {presets.into_iter().map(|(_, label, hint, on)| view! { <Checkbox label hint value=on /> }).collect_view()}
                    </fieldset>
                    <TextArea label="Further redirect URIs" hint="One on each line, compared exactly" value=uris error=sending.at("/oauth/registration/redirect_uris") />
                </div>
            </Panel>
            <Panel title="Scopes" hint="What an agent can ask for, in the words that people read when they allow it. Empty parts of a rule mean any.">
                <div class="flex flex-col gap-4">
                    <For each=move || scopes.get() key=|scope| scope.id let:scope>
                        <fieldset class="rounded-(--radius-box) border border-base-300 p-3">
                            <legend class="muted px-1">{move || format!("Scope {}", scope.name.get())}</legend>
                            <div class="grid gap-3 md:grid-cols-2">
                                <TextField label="Name" value=scope.name required=true />
                                <TextField label="Description for people" value=scope.description required=true />
                                <TextField label="MCP tools" value=scope.tools placeholder="list_*, get_ticket" />
                                <div class="grid grid-cols-2 gap-3">
                                    <TextField label="Methods" value=scope.methods placeholder="GET, HEAD" />
                                    <TextField label="Path" value=scope.path placeholder="/wiki/**" />
                                </div>
                            </div>
                            <div class="mt-2 flex justify-end">
                                <Button look=Look::Quiet blocked on_press=move |()| scopes.update(|list| list.retain(|other| other.id != scope.id))>"Remove scope"</Button>
                            </div>
                        </fieldset>
                    </For>
                    <p class="text-error text-[0.8125rem] empty:hidden">{move || sending.at("/oauth/scopes").get()}</p>
                    <Checkbox label="OpenID Connect" hint="Agents may ask, with the scopes openid, profile and email, who the person is: as far as this account sees it, and when the person allows it" value=openid />
                    <div><Button blocked on_press=add>"Add scope"</Button></div>
                </div>
            </Panel>
            <Panel title="Lifetimes">
                <div class="grid gap-4 md:grid-cols-2">
                    <TextField label="Access token, in minutes" value=token_minutes hint="1 to 1,440. Short: an agent renews it by itself." error=sending.at("/oauth/access_token_seconds") />
                    <TextField label="Grant, in days" value=grant_days hint="After this the person is asked again." error=sending.at("/oauth/grant_seconds") />
                    <TextField label="Lost answers, in seconds" value=rotation hint="30 to 600. For so long a refresh token that was used returns the same successor. Longer helps agents that run twice with one sign-in." error=sending.at("/oauth/rotation_seconds") />
                </div>
            </Panel>
            <FormError sending />
            <div><Submit busy=sending.busy blocked>"Save rules"</Submit></div>
        </form>
    }
}

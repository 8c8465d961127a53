//! Ctrl-K: pages and objects by name or identifier, with the keyboard alone (the combobox pattern of ARIA).

use super::{Dialog, unique};
use crate::me::{Directory, directory, person};
use gloo_timers::future::TimeoutFuture;
use leptos::{ev, prelude::*, task::spawn_local};
use leptos_router::{NavigateOptions, hooks::use_navigate};

/// As many as fit without scrolling.
const MOST: usize = 12;
/// For how long nothing more is typed before the server is asked, in milliseconds.
const TYPED: u32 = 250;

#[derive(Clone, PartialEq, Eq)]
struct Item {
    name: String,
    kind: &'static str,
    href: String,
}

/// Everything that can be gone to. Tracks the lists.
fn items(names: Directory, pages: &[(&'static str, &'static str, bool)]) -> Vec<Item> {
    let mut out: Vec<_> = pages
        .iter()
        .map(|(href, name, _)| item(*name, "Page", *href))
        .collect();
    for (name, href) in [
        ("Groups", "/people?tab=groups"),
        ("Grants", "/agents?tab=grants"),
        ("Agents waiting for approval", "/agents?state=pending"),
        ("New policy", "/policies/new"),
        ("API tokens", "/settings?tab=tokens"),
        ("Signing keys", "/settings?tab=keys"),
        ("Denied requests", "/audit?outcome=denied"),
    ] {
        out.push(item(name, "Page", href));
    }
    for app in names.apps.ready().unwrap_or_default() {
        let account = names.account(&app.account);
        out.push(item(
            format!("{} ({account})", app.spec.name),
            "App",
            format!("/apps/{}", app.id),
        ));
    }
    for connection in names.connections.ready().unwrap_or_default() {
        out.push(item(
            connection.spec.name,
            "Connection",
            format!("/connections/{}", connection.id),
        ));
    }
    for account in names.accounts.ready().unwrap_or_default() {
        out.push(item(
            account.spec.name,
            "Account",
            format!("/apps?account={}", account.id),
        ));
    }
    for user in names.users.ready().unwrap_or_default() {
        out.push(item(person(&user), "Person", format!("/people/{}", user.id)));
    }
    out
}

fn item(name: impl Into<String>, kind: &'static str, href: impl Into<String>) -> Item {
    Item {
        name: name.into(),
        kind,
        href: href.into(),
    }
}

/// Those that contain every word, in their name, kind or identifier.
fn matching(items: Vec<Item>, text: &str) -> Vec<Item> {
    let words: Vec<_> = text.split_whitespace().map(str::to_lowercase).collect();
    let hit = |item: &Item| {
        let all = format!("{} {} {}", item.name, item.kind, item.href).to_lowercase();
        words.iter().all(|word| all.contains(word.as_str()))
    };
    items.into_iter().filter(hit).take(MOST).collect()
}

/// The palette. It stands outside of what can be hidden; a button elsewhere may open it, too.
#[component]
pub(crate) fn Palette(
    open: RwSignal<bool>,
    pages: &'static [(&'static str, &'static str, bool)],
) -> impl IntoView {
    let listener = window_event_listener(ev::keydown, move |event| {
        if (event.ctrl_key() || event.meta_key()) && event.key().eq_ignore_ascii_case("k") {
            event.prevent_default();
            // Not above a question or a secret: it would lead away from them.
            let another = document().query_selector("dialog[open]").ok().flatten().is_some();
            open.update(|open| *open = !*open && !another);
        }
    });
    on_cleanup(move || listener.remove());
    view! {
        <Dialog open title="Go to">
            <Search open pages />
        </Dialog>
    }
}

#[component]
fn Search(open: RwSignal<bool>, pages: &'static [(&'static str, &'static str, bool)]) -> impl IntoView {
    let names = directory();
    let navigate = StoredValue::new_local(use_navigate());
    let text = RwSignal::new(String::new());
    let at = RwSignal::new(0_usize);
    let found = Memo::new(move |_| matching(items(names, pages), &text.get()));
    let list = unique("palette");
    let option = StoredValue::new(list.clone());
    let option_id = move |index: usize| option.with_value(|list| format!("{list}-{index}"));
    let go = move |index: usize| {
        if let Some(item) = found.with_untracked(|found| found.get(index).cloned()) {
            open.set(false);
            navigate.with_value(|go| go(&item.href, NavigateOptions::default()));
        }
    };
    // What is not listed is looked for on the server, once nothing more is typed for a moment.
    let turn = StoredValue::new(0_u32);
    let look = move || {
        turn.update_value(|turn| *turn += 1);
        let mine = turn.get_value();
        spawn_local(async move {
            TimeoutFuture::new(TYPED).await;
            let typed = text.try_get_untracked().unwrap_or_default();
            let typed = typed.trim();
            if turn.try_get_value() != Some(mine) || typed.chars().count() < 2 {
                return;
            }
            // What cannot be looked for is not found.
            if names.apps.is_long() {
                let _ = names.apps.search(typed).await;
            }
            if names.accounts.is_long() {
                let _ = names.accounts.search(typed).await;
            }
            if names.users.is_long() {
                let _ = names.users.search(typed).await;
            }
        });
    };
    let on_key = move |event: ev::KeyboardEvent| {
        let count = found.with_untracked(Vec::len).max(1);
        match event.key().as_str() {
            "ArrowDown" => at.update(|at| *at = (*at + 1) % count),
            "ArrowUp" => at.update(|at| *at = (*at + count - 1) % count),
            "Enter" => go(at.get_untracked()),
            _ => return,
        }
        event.prevent_default();
    };
    let option = move |index: usize, item: Item| {
        view! {
            <li
                role="option"
                id=option_id(index)
                aria-selected=move || if at.get() == index { "true" } else { "false" }
                class="flex cursor-pointer items-baseline justify-between gap-4 rounded-(--radius-field) px-3 py-2 aria-selected:bg-base-300"
                on:mousemove=move |_| at.set(index)
                on:click=move |_| go(index)
            >
                <span class="min-w-0 break-words">{item.name}</span>
                <span class="muted text-xs">{item.kind}</span>
            </li>
        }
    };
    view! {
        <div class="flex flex-col gap-3">
            <input
                type="text"
                role="combobox"
                class="input input-sm w-full"
                aria-label="Page, app, connection, account or person"
                aria-expanded="true"
                aria-autocomplete="list"
                aria-controls=list.clone()
                aria-activedescendant=move || found.with(|found| !found.is_empty()).then(|| option_id(at.get()))
                placeholder="A name or an identifier"
                autocomplete="off"
                spellcheck="false"
                prop:value=move || text.get()
                on:input=move |event| {
                    text.set(event_target_value(&event));
                    at.set(0);
                    look();
                }
                on:keydown=on_key
            />
            <ul role="listbox" id=list aria-label="Found" class="flex flex-col">
                {move || found.get().into_iter().enumerate().map(|(index, item)| option(index, item)).collect_view()}
            </ul>
            <p class="muted empty:hidden" role="status">
                {move || found.with(Vec::is_empty).then_some("Nothing has this name.")}
            </p>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_has_to_be_found_in_name_kind_or_identifier() {
        let all = vec![
            item("Tickets (Labs)", "App", "/apps/app_1"),
            item("Apps", "Page", "/apps"),
        ];
        let names = |text: &str| -> Vec<String> {
            matching(all.clone(), text)
                .into_iter()
                .map(|item| item.name)
                .collect()
        };
        assert_eq!(names("labs TICK"), ["Tickets (Labs)"]);
        assert_eq!(names("app_1"), ["Tickets (Labs)"]);
        assert_eq!(names(""), ["Tickets (Labs)", "Apps"]);
        assert!(names("tickets production").is_empty());
    }
}

//! Lists that grow with the organisation, as far as somebody looks at them: the first page once it is looked at, and
//! beside it what is searched for and what a page names. Never more than that, and never cut without a word.

use crate::{
    client::{Answer, Client, Listed, client, encode},
    remote::Remote,
    ui::unique,
};
use leptos::{ev, leptos_dom::helpers::debounce, prelude::*, task::spawn_local};
use serde::de::DeserializeOwned;
use std::collections::HashSet;
use std::time::Duration;

/// The things of one kind that are known here.
pub(crate) struct Catalogue<T: Send + Sync + 'static> {
    path: &'static str,
    id: fn(&T) -> String,
    client: Client,
    /// Whether somebody has looked at it.
    wanted: RwSignal<bool>,
    first: Remote<Listed<T>>,
    /// What was found beside the first page.
    found: RwSignal<Vec<T>>,
    /// Identifiers that were asked for one by one.
    asked: StoredValue<HashSet<String>>,
}

impl<T: Send + Sync + 'static> Clone for Catalogue<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Send + Sync + 'static> Copy for Catalogue<T> {}

impl<T: Clone + Send + Sync + DeserializeOwned + 'static> Catalogue<T> {
    /// Of the list at a path, whose things are found by name.
    pub(crate) fn new(path: &'static str, id: fn(&T) -> String) -> Self {
        let client = client();
        Self::of(path, id, move || client.first(path))
    }

    /// Of a list that has few entries, and is read whole.
    pub(crate) fn whole(path: &'static str, id: fn(&T) -> String) -> Self {
        let client = client();
        Self::of(path, id, move || async move {
            let items = client.all(path).await?;
            Ok(Listed { items, more: false })
        })
    }

    fn of<F>(path: &'static str, id: fn(&T) -> String, fetch: impl Fn() -> F + Copy + 'static) -> Self
    where
        F: Future<Output = Answer<Listed<T>>>,
    {
        let client = client();
        let wanted = RwSignal::new(false);
        let first = Remote::new(move || {
            let wanted = wanted.get();
            async move {
                if !wanted {
                    std::future::pending::<()>().await;
                }
                fetch().await
            }
        });
        Self {
            path,
            id,
            client,
            wanted,
            first,
            found: RwSignal::new(Vec::new()),
            asked: StoredValue::new(HashSet::new()),
        }
    }

    fn want(self) {
        if !self.wanted.get_untracked() {
            self.wanted.set(true);
        }
    }

    /// What is known, once the first page is. Tracks.
    pub(crate) fn ready(self) -> Option<Vec<T>> {
        self.want();
        let mut all = self.first.ready()?.items;
        self.found.with(|found| {
            let known: HashSet<String> = all.iter().map(self.id).collect();
            let others = found.iter().filter(|one| !known.contains(&(self.id)(one)));
            all.extend(others.cloned().collect::<Vec<_>>());
        });
        Some(all)
    }

    /// Whether there are more than are known. Tracks.
    pub(crate) fn more(self) -> bool {
        self.want();
        self.first.with(|listed| listed.more).unwrap_or_default()
    }

    /// The same as it is now.
    pub(crate) fn is_long(self) -> bool {
        untrack(|| self.more())
    }

    /// One of them; asked for if it is not known yet. Tracks.
    pub(crate) fn find(self, id: &str) -> Option<T> {
        self.want();
        let is_it = |one: &&T| (self.id)(one) == id;
        let (listed, more) = self
            .first
            .with(|listed| (listed.items.iter().find(is_it).cloned(), listed.more))?;
        let known = listed.or_else(|| self.found.with(|found| found.iter().find(is_it).cloned()));
        if known.is_none() && more {
            self.ask(id.to_owned());
        }
        known
    }

    fn ask(self, id: String) {
        let mut is_new = false;
        self.asked.update_value(|asked| is_new = asked.insert(id.clone()));
        if !is_new {
            return;
        }
        spawn_local(async move {
            // What is gone, or not ours to see, stays an identifier.
            if let Ok(one) = self.client.get::<T>(&format!("{}/{id}", self.path)).await {
                let _ = self.found.try_update(|found| found.push(one));
            }
        });
    }

    /// Looks for some by their names, and says how many there are and whether there are more.
    pub(crate) async fn search(self, text: &str) -> Answer<(usize, bool)> {
        let path = format!("{}?q={}", self.path, encode(text));
        let listed: Listed<T> = self.client.first(&path).await?;
        let count = listed.items.len();
        self.found.update(|found| {
            let known: HashSet<String> = found.iter().map(self.id).collect();
            let news = listed.items.into_iter();
            found.extend(news.filter(|one| !known.contains(&(self.id)(one))));
        });
        Ok((count, listed.more))
    }

    /// Fetches again.
    pub(crate) fn reload(self) {
        self.asked.update_value(HashSet::clear);
        self.found.update(Vec::clear);
        self.first.reload();
    }

    /// A skeleton, an error, or `view` of what is known.
    pub(crate) fn show(self, view: impl Fn(Vec<T>) -> AnyView + 'static) -> AnyView {
        self.want();
        self.first
            .show(move |listed| view(self.ready().unwrap_or(listed.items)))
    }
}

/// How long nothing is typed before it is looked for.
const PAUSE: Duration = Duration::from_millis(350);

/// Says that there are more than are listed, and looks for them by name; nothing where all are.
pub(crate) fn others<T>(of: Catalogue<T>, noun: &'static str) -> AnyView
where
    T: Clone + Send + Sync + DeserializeOwned + 'static,
{
    let id = unique("others");
    let said = RwSignal::new(String::new());
    let look = move |text: String| {
        let text = text.trim().to_owned();
        if text.is_empty() {
            said.set(String::new());
            return;
        }
        spawn_local(async move {
            let found = match of.search(&text).await {
                Ok((0, _)) => "None has this name.".to_owned(),
                Ok((1, _)) => "One found; it is listed now.".to_owned(),
                Ok((count, false)) => format!("{count} found; they are listed now."),
                Ok((count, true)) => format!("More than {count} found; write more of the name."),
                Err(failure) => failure.message(),
            };
            let _ = said.try_set(found);
        });
    };
    let mut typed = debounce(PAUSE, look);
    // It may stand in a form, which is not what somebody sends who looks for a name.
    let keep = move |event: ev::KeyboardEvent| {
        if event.key() == "Enter" {
            event.prevent_default();
            look(event_target_value(&event));
        }
    };
    let typed = StoredValue::new_local(move |text: String| typed(text));
    let shown = move || {
        of.more().then(|| {
            view! {
                <div class="flex flex-col gap-1">
                    <label for=id.clone() class="muted text-xs">{format!("More {noun} than are listed: find by name")}</label>
                    <input
                        id=id.clone()
                        type="search"
                        class="input input-sm w-44"
                        spellcheck="false"
                        autocomplete="off"
                        on:keydown=keep
                        on:input=move |event| typed.update_value(|typed| typed(event_target_value(&event)))
                    />
                    <p class="muted text-xs empty:hidden" role="status">{move || said.get()}</p>
                </div>
            }
        })
    };
    shown.into_any()
}

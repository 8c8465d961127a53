//! A choice of one of the accounts, apps or identity providers that are there. Where there is none, it says what has
//! to be made first, and where; the form cannot be sent until then.

use crate::{
    catalogue::others,
    me::{Directory, directory},
    ui::Select,
};
use leptos::prelude::*;
use wire::ConnectionKind;

/// What is chosen from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thing {
    Account,
    App,
    /// A connection to a provider: local passwords are none.
    Provider,
    /// The same, where another one is chosen beside it.
    TwoProviders,
}

impl Thing {
    /// What there has to be, where it is made, and the words of the link that leads there.
    const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Account => ("an account is needed first", "/accounts", "To the accounts"),
            Self::App => ("an app is needed first", "/apps", "To the apps"),
            Self::Provider => (
                "a connection to an identity provider is needed first",
                "/connections",
                "To the connections",
            ),
            Self::TwoProviders => (
                "two connections to identity providers are needed first",
                "/connections",
                "To the connections",
            ),
        }
    }

    /// How many of it there have to be.
    const fn least(self) -> usize {
        match self {
            Self::TwoProviders => 2,
            _ => 1,
        }
    }

    /// All that are there; `None` until that is known. Tracks.
    fn known(self, names: Directory) -> Option<Vec<(String, String)>> {
        let all = match self {
            Self::Account => {
                let list = names.accounts.ready()?.into_iter();
                list.map(|x| (x.id.to_string(), x.spec.name)).collect()
            }
            Self::App => {
                let list = names.apps.ready()?.into_iter();
                list.map(|x| (x.id.to_string(), x.spec.name)).collect()
            }
            Self::Provider | Self::TwoProviders => {
                let list = names.connections.ready()?.into_iter();
                list.filter(|x| x.spec.kind != ConnectionKind::Password)
                    .map(|x| (x.id.to_string(), x.spec.name))
                    .collect()
            }
        };
        Some(all)
    }
}

/// Why a form that needs one of these cannot be sent: there is none. `None` when there is, and while that is not
/// known. Tracks.
pub(crate) fn lacking(of: Thing) -> Signal<Option<String>> {
    let names = directory();
    Signal::derive(move || {
        let few = of.known(names).is_some_and(|all| all.len() < of.least());
        few.then(|| of.words().0.to_owned())
    })
}

/// One of them; the first until another is chosen.
#[component]
pub(crate) fn Choice(
    of: Thing,
    #[prop(into)] label: Signal<String>,
    value: RwSignal<String>,
    #[prop(optional, into)] hint: Option<String>,
    #[prop(optional, into)] error: Signal<Option<String>>,
    /// Which of them it is at first.
    #[prop(optional)]
    nth: usize,
) -> impl IntoView {
    let names = directory();
    let all = Memo::new(move |_| of.known(names));
    Effect::new(move |_| {
        let first = all.with(|all| all.as_ref()?.get(nth).map(|(id, _)| id.clone()));
        if value.get_untracked().is_empty()
            && let Some(first) = first
        {
            value.set(first);
        }
    });
    let lacks = lacking(of);
    let lacks = Memo::new(move |_| lacks.get().is_some());
    let options = Signal::derive(move || all.get().unwrap_or_default());
    let find = move || match of {
        Thing::Account => others(names.accounts, "accounts"),
        Thing::App => others(names.apps, "apps"),
        Thing::Provider | Thing::TwoProviders => ().into_any(),
    };
    let (needed, at, link) = of.words();
    move || {
        if lacks.get() {
            return view! {
                <div role="status" class="flex flex-col gap-1">
                    <p class="font-medium">{move || label.get()}</p>
                    <p class="text-warning">{sentence(needed)} " " <a class="link" href=at>{link}</a></p>
                </div>
            }
            .into_any();
        }
        match hint.clone() {
            Some(hint) => view! { <Select label value options hint error /> {find()} }.into_any(),
            None => view! { <Select label value options error /> {find()} }.into_any(),
        }
    }
}

/// With a capital and a full stop.
fn sentence(words: &str) -> String {
    let (first, rest) = words.split_at(words.chars().next().map_or(0, char::len_utf8));
    format!("{}{rest}.", first.to_uppercase())
}

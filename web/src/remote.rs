//! Something that is fetched: its three states as one signal, and how each of them looks.

use crate::{
    client::{Answer, Failure},
    ui::{ErrorPanel, Skeleton},
};
use leptos::{prelude::*, task::spawn_local};
use std::future::Future;

/// Where a fetch is.
#[derive(Debug, Clone)]
pub(crate) enum Load<T> {
    Loading,
    Failed(Failure),
    Ready(T),
}

/// A value that lives on the server. Fetched at once, again on [`Remote::reload`], and again whenever a signal
/// that the fetch reads before its first `await` changes. Old data stay in view while new ones are fetched.
pub(crate) struct Remote<T> {
    state: RwSignal<Load<T>>,
    turn: RwSignal<u32>,
}

impl<T> Clone for Remote<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Remote<T> {}

impl<T: Clone + Send + Sync + 'static> Remote<T> {
    /// Starts to fetch.
    pub(crate) fn new<F, Fut>(fetch: F) -> Self
    where
        F: Fn() -> Fut + 'static,
        Fut: Future<Output = Answer<T>> + 'static,
    {
        let state = RwSignal::new(Load::Loading);
        let turn = RwSignal::new(0);
        let started = StoredValue::new(0_u32);
        Effect::new(move |_| {
            turn.track();
            started.update_value(|n| *n += 1);
            let mine = started.get_value();
            let answer = fetch();
            spawn_local(async move {
                let answer = answer.await;
                // The page may be gone, or a later fetch under way: then this answer is nobody's.
                if started.try_get_value() != Some(mine) {
                    return;
                }
                let _ = state.try_set(match answer {
                    Ok(value) => Load::Ready(value),
                    Err(failure) => Load::Failed(failure),
                });
            });
        });
        Self { state, turn }
    }

    /// Fetches again.
    pub(crate) fn reload(self) {
        self.turn.update(|n| *n += 1);
    }

    /// The value, once there is one. Tracks.
    pub(crate) fn ready(self) -> Option<T> {
        match self.state.get() {
            Load::Ready(value) => Some(value),
            _ => None,
        }
    }

    /// Puts a value in place that an answer to a write has brought.
    pub(crate) fn put(self, value: T) {
        self.state.set(Load::Ready(value));
    }

    /// Looks at the value without cloning it; `None` until there is one. Tracks.
    pub(crate) fn with<R>(self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.state.with(|state| match state {
            Load::Ready(value) => Some(look(value)),
            _ => None,
        })
    }

    /// Like [`Remote::show`], but the view is made once and follows later values through the signal: what has
    /// the focus keeps it when a write changes the value.
    pub(crate) fn live(self, view: impl Fn(Signal<T>) -> AnyView + 'static) -> AnyView {
        let last = RwSignal::new(None::<T>);
        let phase = Memo::new(move |_| match self.state.get() {
            Load::Loading => None,
            Load::Failed(failure) => Some(Err(failure)),
            Load::Ready(value) => {
                last.set(Some(value));
                Some(Ok(()))
            }
        });
        let view = StoredValue::new_local(view);
        let shown = move || match phase.get() {
            None => view! { <Skeleton /> }.into_any(),
            Some(Err(failure)) => {
                view! { <ErrorPanel failure retry=Callback::new(move |()| self.reload()) /> }.into_any()
            }
            Some(Ok(())) => last.get_untracked().map_or_else(
                || ().into_any(),
                |first| {
                    let value = Signal::derive(move || last.get().unwrap_or_else(|| first.clone()));
                    view.with_value(|view| view(value))
                },
            ),
        };
        shown.into_any()
    }

    /// A skeleton, an error with a way to try again, or `view` of the value.
    pub(crate) fn show(self, view: impl Fn(T) -> AnyView + 'static) -> AnyView {
        let view = StoredValue::new_local(view);
        let shown = move || match self.state.get() {
            Load::Loading => view! { <Skeleton /> }.into_any(),
            Load::Failed(failure) => {
                view! { <ErrorPanel failure retry=Callback::new(move |()| self.reload()) /> }.into_any()
            }
            Load::Ready(value) => view.with_value(|view| view(value)),
        };
        shown.into_any()
    }
}

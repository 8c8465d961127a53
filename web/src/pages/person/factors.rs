//! What a person with a local password shows besides it.

use crate::{
    client::{Write, client},
    me::{Need, directory, me},
    remote::Remote,
    ui::*,
};
use leptos::prelude::*;
use wire::{ConnectionKind, Factor, FactorKind, User, UserId};

/// The section, for people whose password is kept here; of others the provider asks what it asks.
#[component]
pub(super) fn Factors(user: Signal<User>) -> impl IntoView {
    let names = directory();
    let local = Memo::new(move |_| {
        let kind = user.with(|user| names.connection_kind(&user.connection));
        kind == Some(ConnectionKind::Password)
    });
    let id = StoredValue::new(user.get_untracked().id);
    view! { <Show when=move || local.get()><List user=id.get_value() /></Show> }
}

#[component]
fn List(user: UserId) -> impl IntoView {
    let client = client();
    let own = me().session().user.is_some_and(|me| me.id == user);
    let path = StoredValue::new(format!("/users/{user}/factors"));
    // Whoever has roles in accounts only is not told what people sign in with.
    let factors = Remote::new(move || async move {
        match client.all::<Factor>(&path.get_value()).await {
            Err(failure) if failure.is_not_found() => Ok(None),
            other => other.map(Some),
        }
    });
    view! {
        <section class="flex flex-col gap-3">
            <header>
                <h2 class="font-semibold">"Second factors"</h2>
                {own.then(|| view! {
                    <p class="muted">"You add your own on "<a class="link" href="/me/security" rel="external">"the page of your second factors"</a>"."</p>
                })}
            </header>
            {factors.show(move |list| match list {
                None => view! { <p class="muted">"Only people with a role in the organisation see what somebody signs in with."</p> }.into_any(),
                Some(list) if list.is_empty() => {
                    view! { <p class="muted">"None: the password alone signs this person in, unless the organisation asks for a second factor."</p> }.into_any()
                }
                Some(list) => {
                    let columns = vec![
                        column("Name", |f: &Factor| view! { <span class="font-semibold">{f.name.clone()}</span> }.into_any()),
                        column("Kind", |f: &Factor| kind(f.kind).into_any()),
                        column("Added", |f: &Factor| moment(f.created_at)),
                        column("Last used", |f: &Factor| since_or_never(f.last_used_at)),
                        column(ACTIONS, move |f: &Factor| {
                            let path = format!("{}/{}", path.get_value(), f.id);
                            view! { <Remove path factor=f.clone() own factors /> }.into_any()
                        }),
                    ];
                    table("Second factors", columns, list)
                }
            })}
        </section>
    }
}

#[component]
fn Remove(path: String, factor: Factor, own: bool, factors: Remote<Option<Vec<Factor>>>) -> impl IntoView {
    // Everybody removes their own.
    let blocked = if own {
        Signal::stored(None)
    } else {
        me().gate(Need::Owner)
    };
    let act = Act::counted(
        "Remove",
        factor.name,
        "It no longer counts when this person signs in. If it is the last one, their password alone signs them in; \
         where the organisation asks for a second factor, their sessions, those of this dashboard included, and their \
         API tokens stop until they have added another at their next sign-in.",
    )
    .said("Second factor removed")
    .word("remove");
    view! { <ActButton act blocked on_done=move |_| factors.reload() write=move || Write::delete(&path) /> }
}

/// A kind in words.
const fn kind(kind: FactorKind) -> &'static str {
    match kind {
        FactorKind::Totp => "Authenticator app",
        FactorKind::Passkey => "Passkey or security key",
    }
}

//! Who gains and who loses access by a write, asked of the server before it is made.

use super::{Button, Tone, badge, local};
use crate::{
    client::{Failure, Write, client},
    labels::linked,
};
use leptos::{prelude::*, task::spawn_local};
use wire::{Impact, ImpactCount, ImpactName, ImpactShare, Preview};

/// Names that are shown at once; the rest is behind a click.
const SHOWN: usize = 5;

/// From so many on who lose access, the act has to be confirmed by typing.
const MANY: i64 = 5;

/// What a dry run brought, or why it brought nothing; `None` while it is under way.
pub(crate) type Seen = Option<Result<Preview, Failure>>;

/// Whether somebody loses access by it.
pub(crate) fn takes_away(preview: &Preview) -> bool {
    losers(preview) > 0
}

/// Whether many lose access by it.
pub(crate) fn takes_from_many(preview: &Preview) -> bool {
    losers(preview) >= MANY
}

fn losers(preview: &Preview) -> i64 {
    preview.impact.as_ref().map_or(0, |impact| {
        // Who is signed in may be among those who can no longer sign in, and is one person.
        let lose = impact.lose.people.max(impact.sign_in.lose);
        lose.saturating_add(impact.lose.agents)
            .saturating_add(impact.tokens.lose)
    })
}

/// What a write would do, asked of the server unless it was asked before. Goes inside the question.
#[component]
pub(crate) fn ImpactOf(write: Write, seen: RwSignal<Seen>) -> impl IntoView {
    let client = client();
    let look = move || {
        let write = write.clone();
        seen.set(None);
        spawn_local(async move {
            let answer = client.preview(write).await;
            let _ = seen.try_set(Some(answer));
        });
    };
    if seen.with_untracked(Option::is_none) {
        look();
    }
    let again = Callback::new(move |()| look());
    view! {
        <section aria-label="Who is affected" aria-live="polite" class="rounded-(--radius-field) border border-base-300 p-3">
            {move || match seen.get() {
                None => view! { <p class="muted">"Looking who is affected…"</p> }.into_any(),
                Some(Err(failure)) if failure.is_refusal() => view! { <p class="text-error">{linked(&failure.in_full())}</p> }.into_any(),
                Some(Err(failure)) => view! {
                    <div class="flex flex-col gap-2">
                        <p class="text-error">"Who is affected could not be found out. " {failure.in_full()}</p>
                        <div><Button on_press=again>"Try again"</Button></div>
                    </div>
                }.into_any(),
                Some(Ok(preview)) => match preview.impact {
                    Some(impact) => impact_view(impact),
                    None => view! { <p>"Nobody's access to an app depends on it."</p> }.into_any(),
                },
            }}
        </section>
    }
}

/// The same as a view of its own.
pub(crate) fn impact_view(impact: Impact) -> AnyView {
    let quiet = [&impact.lose, &impact.gain, &impact.keep]
        .iter()
        .all(|share| share.people == 0 && share.agents == 0);
    let sign_in = match (impact.sign_in.gain, impact.sign_in.lose) {
        (0, 0) => None,
        (gain, 0) => Some(format!("{} can sign in anew.", people(gain))),
        (0, lose) => Some(format!("{} can no longer sign in.", people(lose))),
        (gain, lose) => Some(format!(
            "{} can sign in anew, {} no longer.",
            people(gain),
            people(lose)
        )),
    };
    let tokens = match (impact.tokens.lose, impact.tokens.gain) {
        (0, 0) => None,
        (lose, 0) => Some(format!("{} will be refused.", tokens(lose))),
        (0, gain) => Some(format!("{} will work again.", tokens(gain))),
        (lose, gain) => Some(format!(
            "{} will be refused, {} will work again.",
            tokens(lose),
            tokens(gain)
        )),
    };
    let several = impact.accounts > 1;
    let rows = impact.rows.clone();
    let more = impact.more;
    view! {
        <div class="flex flex-col gap-2">
            {quiet.then(|| view! { <p>"No session at an app and no agent's grant is affected."</p> })}
            {share("Lose access", Tone::Bad, impact.lose)}
            {share("Gain access", Tone::Good, impact.gain)}
            {share("Keep access", Tone::Neutral, impact.keep)}
            {sign_in.map(|text| view! { <p>{text}</p> })}
            {tokens.map(|text| view! { <p>{text}</p> })}
            {several
                .then(|| {
                    view! {
                        <details>
                            <summary class="muted w-fit cursor-pointer py-1">{format!("In {} accounts", impact.accounts)}</summary>
                            <div class="overflow-x-auto">
                                <table class="table table-sm">
                                    <thead><tr><th scope="col">"Account"</th><th scope="col">"Lose"</th><th scope="col">"Gain"</th><th scope="col">"Keep"</th></tr></thead>
                                    <tbody>
                                        {rows
                                            .into_iter()
                                            .map(|row| {
                                                view! {
                                                    <tr>
                                                        <td>{row.name}</td>
                                                        <td>{count(row.lose)}</td>
                                                        <td>{count(row.gain)}</td>
                                                        <td>{count(row.keep)}</td>
                                                    </tr>
                                                }
                                            })
                                            .collect_view()}
                                    </tbody>
                                </table>
                            </div>
                            {(more > 0).then(|| view! { <p class="muted">{format!("and {more} more")}</p> })}
                        </details>
                    }
                })}
        </div>
    }
    .into_any()
}

fn people(n: i64) -> String {
    if n == 1 {
        "One person".into()
    } else {
        format!("{n} people")
    }
}

fn tokens(n: i64) -> String {
    if n == 1 {
        "One API token".into()
    } else {
        format!("{n} API tokens")
    }
}

fn count(count: ImpactCount) -> String {
    match (count.people, count.agents) {
        (0, 0) => "–".into(),
        (people, 0) => format!("{people}"),
        (people, agents) => format!("{people} and {agents} agents"),
    }
}

fn share(title: &'static str, tone: Tone, share: ImpactShare) -> Option<AnyView> {
    if share.people == 0 && share.agents == 0 {
        return None;
    }
    let agents = match share.agents {
        1 => "one agent".into(),
        n => format!("{n} agents"),
    };
    let total = match (share.people, share.agents) {
        (0, _) => agents,
        (n, 0) => people(n),
        (n, _) => format!("{}, {agents}", people(n)),
    };
    let named = share.names.len();
    let mut names = share.names.into_iter().map(name);
    let first: Vec<_> = names.by_ref().take(SHOWN).collect();
    let rest: Vec<_> = names.collect();
    let unnamed = usize::try_from(share.people + share.agents)
        .unwrap_or_default()
        .saturating_sub(named);
    Some(
        view! {
            <div>
                <p>{badge(tone, title)} " " <span class="font-medium">{total}</span></p>
                <ul class="mt-1 list-disc pl-5">{first}</ul>
                {(!rest.is_empty())
                    .then(|| {
                        view! {
                            <details>
                                <summary class="muted w-fit cursor-pointer py-1">{format!("{} more names", rest.len())}</summary>
                                <ul class="list-disc pl-5">{rest}</ul>
                            </details>
                        }
                    })}
                {(unnamed > 0).then(|| view! { <p class="muted">{format!("and {unnamed} not named here")}</p> })}
            </div>
        }
        .into_any(),
    )
}

fn name(name: ImpactName) -> AnyView {
    let who = name.email.or(name.name).unwrap_or_else(|| name.user.to_string());
    let agent = name
        .client_name
        .map(|agent| format!("{agent}, for "))
        .unwrap_or_default();
    let why = name
        .rule
        .map(|rule| format!(" ({})", rule.name))
        .unwrap_or_default();
    let until = name
        .until
        .map(|until| format!(" until {}", local(until)))
        .unwrap_or_default();
    view! { <li>{agent} <a class="link" href=format!("/people/{}", name.user)>{who}</a> {until} <span class="muted">{why}</span></li> }
        .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{ImpactShare, ImpactSignIn};

    fn losing(people: i64, agents: i64, sign_in: i64) -> Preview {
        Preview {
            resource: serde_json::Value::Null,
            changes: Vec::new(),
            impact: Some(Impact {
                lose: ImpactShare {
                    people,
                    agents,
                    names: Vec::new(),
                },
                sign_in: ImpactSignIn {
                    gain: 0,
                    lose: sign_in,
                },
                ..Impact::default()
            }),
        }
    }

    #[test]
    fn a_person_who_loses_session_and_sign_in_counts_once() {
        assert!(!takes_from_many(&losing(4, 0, 4)));
        assert!(takes_from_many(&losing(3, 2, 0)));
        assert!(takes_from_many(&losing(0, 0, 5)));
    }

    #[test]
    fn whoever_can_no_longer_sign_in_loses_something() {
        assert!(takes_away(&losing(0, 0, 1)));
        assert!(takes_away(&losing(0, 1, 0)));
        assert!(!takes_away(&losing(0, 0, 0)));
        let mut tokens = losing(0, 0, 0);
        if let Some(impact) = &mut tokens.impact {
            impact.tokens.lose = 5;
        }
        assert!(takes_away(&tokens) && takes_from_many(&tokens));
        let none = Preview {
            impact: None,
            ..losing(9, 9, 9)
        };
        assert!(!takes_away(&none));
    }
}

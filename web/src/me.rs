//! Who is signed in, what they may do, and the names of what their pages refer to.

use crate::catalogue::Catalogue;
use leptos::prelude::*;
use wire::{
    Account, AccountId, App, AppId, Connection, ConnectionId, ConnectionKind, Group, GroupId, Role, Session,
    User, UserId,
};

/// What an action asks of a person.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Need {
    /// Changes of the organisation: connections, bindings, accounts, people, keys.
    Organisation,
    /// Changes of owners only.
    Owner,
    /// Changes of one account's apps, policies, agents.
    Edit(AccountId),
    /// Changes of some account: buttons that lead to a form with a choice of account.
    EditSomewhere,
    /// Reading and exporting the audit log.
    Audit,
}

/// The person in front of the screen.
#[derive(Clone, Copy)]
pub(crate) struct Me {
    session: StoredValue<Session>,
}

impl Me {
    pub(crate) fn new(session: Session) -> Self {
        Self {
            session: StoredValue::new(session),
        }
    }

    pub(crate) fn session(self) -> Session {
        self.session.get_value()
    }

    pub(crate) fn has_any_role(self) -> bool {
        self.session.with_value(|session| !session.roles.is_empty())
    }

    fn may(self, need: &Need) -> bool {
        use Role::{AccountAdmin, AccountEditor, OrgAdmin, OrgAuditor, OrgOwner};
        self.session.with_value(|session| {
            session.roles.iter().any(|member| match (need, member.role) {
                (_, OrgOwner) => true,
                (Need::Owner, _) => false,
                (_, OrgAdmin) => true,
                (Need::Edit(account), AccountAdmin | AccountEditor) => {
                    member.account.as_ref() == Some(account)
                }
                (Need::EditSomewhere, AccountAdmin | AccountEditor) => true,
                (Need::Audit, OrgAuditor | Role::AccountAuditor | AccountAdmin) => true,
                _ => false,
            })
        })
    }

    /// Why the person may not do this; `None` when they may. The server decides again.
    pub(crate) fn blocked(self, need: &Need) -> Option<String> {
        if self.may(need) {
            return None;
        }
        Some(
            match need {
                Need::Organisation => "only organisation admins and owners can change this",
                Need::Owner => "only organisation owners can change this",
                Need::Edit(_) => "only admins and editors of this account can change this",
                Need::EditSomewhere => "you have no account in which you are admin or editor",
                Need::Audit => "your role does not include the audit log",
            }
            .into(),
        )
    }

    /// The same for [`crate::ui::Button`].
    pub(crate) fn gate(self, need: Need) -> Signal<Option<String>> {
        Signal::stored(self.blocked(&need))
    }
}

/// The person that the app provides.
pub(crate) fn me() -> Me {
    expect_context()
}

/// Lists that many pages take names from.
#[derive(Clone, Copy)]
pub(crate) struct Directory {
    pub(crate) accounts: Catalogue<Account>,
    pub(crate) connections: Catalogue<Connection>,
    pub(crate) apps: Catalogue<App>,
    pub(crate) users: Catalogue<User>,
    pub(crate) groups: Catalogue<Group>,
}

impl Directory {
    pub(crate) fn new() -> Self {
        Self {
            accounts: Catalogue::new("/accounts", |x| x.id.to_string()),
            connections: Catalogue::whole("/connections", |x| x.id.to_string()),
            apps: Catalogue::new("/apps", |x| x.id.to_string()),
            users: Catalogue::new("/users", |x| x.id.to_string()),
            groups: Catalogue::new("/groups", |x| x.id.to_string()),
        }
    }

    /// The account's name, or its identifier while the name is not known. Tracks.
    pub(crate) fn account(self, id: &AccountId) -> String {
        let known = self.accounts.find(id.as_ref());
        known.map_or_else(|| id.to_string(), |x| x.spec.name)
    }

    /// The connection's name. Tracks.
    pub(crate) fn connection(self, id: &ConnectionId) -> String {
        let known = self.connections.find(id.as_ref());
        known.map_or_else(|| id.to_string(), |x| x.spec.name)
    }

    /// What kind of connection it is, once that is known. Tracks.
    pub(crate) fn connection_kind(self, id: &ConnectionId) -> Option<ConnectionKind> {
        self.connections.find(id.as_ref()).map(|x| x.spec.kind)
    }

    /// The app's name. Tracks.
    pub(crate) fn app(self, id: &AppId) -> String {
        let known = self.apps.find(id.as_ref());
        known.map_or_else(|| id.to_string(), |x| x.spec.name)
    }

    /// The group's name. Tracks.
    pub(crate) fn group(self, id: &GroupId) -> String {
        let known = self.groups.find(id.as_ref());
        known.map_or_else(|| id.to_string(), |x| x.spec.name)
    }

    /// How to call a person. Tracks.
    pub(crate) fn user(self, id: &UserId) -> String {
        let known = self.users.find(id.as_ref());
        known.map_or_else(|| id.to_string(), |x| person(&x))
    }

    /// Options for a select of accounts, with `all` on top.
    pub(crate) fn account_options(self, all: &'static str) -> Signal<Vec<(String, String)>> {
        Signal::derive(move || {
            let rest = self.accounts.ready().unwrap_or_default();
            std::iter::once((String::new(), all.to_owned()))
                .chain(rest.into_iter().map(|x| (x.id.to_string(), x.spec.name)))
                .collect()
        })
    }

    /// Options for a select of apps, with `all` on top.
    pub(crate) fn app_options(self, all: &'static str) -> Signal<Vec<(String, String)>> {
        Signal::derive(move || {
            let rest = self.apps.ready().unwrap_or_default();
            std::iter::once((String::new(), all.to_owned()))
                .chain(rest.into_iter().map(|x| (x.id.to_string(), x.spec.name)))
                .collect()
        })
    }

    /// Options for a select of people.
    pub(crate) fn user_options(self, all: Option<&'static str>) -> Signal<Vec<(String, String)>> {
        Signal::derive(move || {
            let first = all.map(|all| (String::new(), all.to_owned()));
            let rest = self.users.ready().unwrap_or_default();
            first
                .into_iter()
                .chain(rest.iter().map(|x| (x.id.to_string(), person(x))))
                .collect()
        })
    }

    /// Options for a select of connections.
    pub(crate) fn connection_options(self) -> Signal<Vec<(String, String)>> {
        Signal::derive(move || {
            let list = self.connections.ready().unwrap_or_default();
            list.into_iter()
                .map(|x| (x.id.to_string(), x.spec.name))
                .collect()
        })
    }
}

/// How to call a person: e-mail, else name, else the upstream subject; where all of it is withheld, the identifier.
pub(crate) fn person(user: &User) -> String {
    let subject = Some(user.subject.clone()).filter(|subject| !subject.is_empty());
    user.email
        .clone()
        .or_else(|| user.name.clone())
        .or(subject)
        .unwrap_or_else(|| user.id.to_string())
}

/// The names that the app provides.
pub(crate) fn directory() -> Directory {
    expect_context()
}

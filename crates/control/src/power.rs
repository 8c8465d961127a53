//! What a write takes: one place that says for each which rank and which proof it needs, from what it touches. So it does
//! for questions that are posted: they change nothing here, and may still reach what whoever asks could not.
//!
//! A handler names its [`Act`] with what is there and what is asked for, and gets a [`Warrant`], without which
//! nothing is committed. What does not change more than names, or only closes one thing, is done with any session.
//! What touches who people are taken for, who has power, ways in, secrets, or what is public needs a proof of the
//! last 15 minutes; what decides who an owner is needs an owner. Members that are not known to be harmless are
//! taken for the opposite, so that a new one is guarded until somebody says otherwise.

mod act;

pub(crate) use act::{Act, Given, Whose, differ};

use crate::Control;
use crate::caller::{Caller, Scope};
use crate::fault::{Answer, Fault, Kind};
use axum::extract::{FromRequestParts, MatchedPath};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::LazyLock;
use store::power::Permission;
use wire::{AccountId, TokenScope};

/// Whether a write needs a proof of the last 15 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It renames, tries, or closes one thing.
    Never,
    /// It depends on what changes.
    ByChange,
    Always,
}

impl Proof {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::ByChange => "by-change",
            Self::Always => "always",
        }
    }
}

/// Everything of the API but what is only read by `GET`. A route that is not here is not served, and an act that takes
/// another proof than is said here is not done.
pub(crate) const fn declared() -> &'static [(&'static str, Proof)] {
    use Proof::{Always, ByChange, Never};
    &[
        ("PATCH /organisation", ByChange),
        ("POST /accounts", Never),
        ("PATCH /accounts/{id}", ByChange),
        ("DELETE /accounts/{id}", Always),
        ("POST /hosts", Always),
        ("PATCH /hosts/{id}", Always),
        ("DELETE /hosts/{id}", Always),
        ("POST /members", Always),
        ("PATCH /members/{id}", Always),
        ("DELETE /members/{id}", Always),
        ("POST /invitations", Always),
        ("POST /invitations/{id}/resend", Always),
        ("DELETE /invitations/{id}", Never),
        ("POST /role-mappings", Always),
        ("PATCH /role-mappings/{id}", Always),
        ("DELETE /role-mappings/{id}", Always),
        ("PATCH /users/{id}", ByChange),
        ("DELETE /users/{id}/factors/{factor}", Always),
        ("DELETE /sessions/{id}", Never),
        ("POST /connections", Always),
        ("PATCH /connections/{id}", ByChange),
        ("DELETE /connections/{id}", Always),
        ("POST /connections/{id}/trials", Never),
        ("POST /connections/discover", ByChange),
        ("POST /connections/{id}/claims-preview", Never),
        ("POST /bindings", Always),
        ("PATCH /bindings", Always),
        ("PATCH /bindings/{id}", Always),
        ("DELETE /bindings/{id}", ByChange),
        ("POST /connection-migrations", Always),
        ("POST /connection-migrations/{id}/cut-over", Always),
        ("POST /connection-migrations/{id}/roll-back", Always),
        ("POST /connection-migrations/{id}/complete", Always),
        ("POST /connection-migrations/{id}/links", ByChange),
        ("POST /connection-migrations/{id}/links/approve-all", Always),
        ("POST /groups", Never),
        ("PATCH /groups/{id}", ByChange),
        ("DELETE /groups/{id}", Never),
        ("POST /policies", ByChange),
        ("PATCH /policies/{id}", ByChange),
        ("DELETE /policies/{id}", Never),
        ("POST /policies/test", Never),
        ("POST /apps", Always),
        ("PATCH /apps/{id}", ByChange),
        ("DELETE /apps/{id}", Always),
        ("POST /clients", Always),
        ("PATCH /clients/{id}", ByChange),
        ("DELETE /clients/{id}", ByChange),
        ("POST /agent-documents", Always),
        ("PATCH /agent-documents/{id}", Always),
        ("DELETE /agent-documents/{id}", Always),
        ("POST /agent-documents/{id}/refresh", Always),
        ("DELETE /grants/{id}", Never),
        ("POST /agent-attempts/{id}/remedy", ByChange),
        ("POST /api-tokens", Always),
        ("PATCH /api-tokens/{id}", ByChange),
        ("DELETE /api-tokens/{id}", Never),
        ("POST /api-tokens/{id}/roll", Always),
        ("POST /service-tokens", Always),
        ("PATCH /service-tokens/{id}", ByChange),
        ("DELETE /service-tokens/{id}", Never),
        ("POST /service-tokens/{id}/rotate", Always),
        ("POST /webhooks", Always),
        ("PATCH /webhooks/{id}", ByChange),
        ("DELETE /webhooks/{id}", Always),
        ("POST /webhooks/{id}/rotate-secret", Always),
        ("POST /webhooks/{id}/test", Never),
        ("POST /webhooks/{id}/deliveries/{delivery}/replay", Never),
        ("POST /signing-keys/rotate", Always),
    ]
}

/// What is declared of an operation such as `POST /apps`.
pub(crate) fn proof_of(operation: &str) -> Option<Proof> {
    let found = declared().iter().find(|(name, _)| *name == operation);
    found.map(|(_, proof)| *proof)
}

/// Writes and questions that the router has and nobody declared.
static UNDECLARED: LazyLock<HashSet<String>> = LazyLock::new(|| {
    let mut served = crate::openapi::operation_names();
    served.retain(|operation| !operation.starts_with("GET ") && proof_of(operation).is_none());
    served
});

/// Whether a request changes something; `path` is a route below `/api/v1`.
pub(crate) fn is_write(method: &str, path: &str) -> bool {
    !matches!(method, "GET" | "HEAD") && !crate::QUESTIONS.contains(&path)
}

/// Refuses what nobody declared.
pub(crate) fn gate(operation: &str) -> Answer<()> {
    if UNDECLARED.contains(operation) {
        tracing::error!(operation, "a write without a declaration is not served");
        return Err(Fault::of(Kind::Internal));
    }
    Ok(())
}

/// A permission, in an account or in the whole organisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rank {
    permission: Permission,
    account: Option<AccountId>,
    /// In any account will do, where none is named.
    #[serde(default)]
    anywhere: bool,
    /// Said to whoever lacks it.
    #[serde(skip)]
    detail: Option<&'static str>,
}

impl Rank {
    fn new(permission: Permission, account: Option<&AccountId>) -> Self {
        Self {
            permission,
            account: account.cloned(),
            anywhere: false,
            detail: None,
        }
    }
}

/// What an act takes. It is kept with answers that are given again, to be judged anew then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Demand {
    /// All of these; none for what is the caller's own.
    ranks: Vec<Rank>,
    /// A proof of the last 15 minutes.
    recent: bool,
    /// Of a token that it writes, where it is a question.
    #[serde(default)]
    writes: bool,
    /// Whether trying it needs no proof: the dry run is how one sees who would lose access.
    #[serde(skip)]
    looking_is_free: bool,
}

impl Demand {
    fn of(permission: Permission, account: Option<&AccountId>) -> Self {
        Self {
            ranks: vec![Rank::new(permission, account)],
            ..Self::none()
        }
    }

    /// Of the caller's own things.
    const fn none() -> Self {
        Self {
            ranks: Vec::new(),
            recent: false,
            writes: false,
            looking_is_free: false,
        }
    }

    /// In the organisation, or in whichever account.
    fn anywhere(permission: Permission) -> Self {
        let rank = Rank {
            anywhere: true,
            ..Rank::new(permission, None)
        };
        Self {
            ranks: vec![rank],
            ..Self::none()
        }
    }

    fn organisation() -> Self {
        Self::of(Permission::Administer, None)
    }

    /// Where something belongs to one account or to the organisation.
    fn administer(account: Option<&AccountId>) -> Self {
        Self::of(Permission::Administer, account)
    }

    fn recent(self) -> Self {
        self.recent_if(true)
    }

    fn recent_if(mut self, recent: bool) -> Self {
        self.recent |= recent;
        self
    }

    const fn writes_if(mut self, writes: bool) -> Self {
        self.writes |= writes;
        self
    }

    fn own_if(self, concerns_owner: bool, detail: &'static str) -> Self {
        self.and_if(concerns_owner, Permission::Own, detail)
    }

    /// Where something opens addresses of the inside.
    fn inside_if(self, opens: bool) -> Self {
        let detail = "only the organisation's administrators open internal addresses";
        self.and_if(opens, Permission::Administer, detail)
    }

    fn and_if(mut self, concerned: bool, permission: Permission, detail: &'static str) -> Self {
        if concerned {
            let detail = Some(detail);
            self.ranks.push(Rank {
                detail,
                ..Rank::new(permission, None)
            });
        }
        self
    }

    fn look_freely(mut self) -> Self {
        self.looking_is_free = true;
        self
    }
}

/// Somebody was found to have what an act takes. Nothing is committed without one.
#[derive(Clone, Copy)]
pub(crate) struct Warrant<'a> {
    caller: &'a Caller,
}

impl<'a> Warrant<'a> {
    pub(crate) const fn caller(&self) -> &'a Caller {
        self.caller
    }
}

/// A question that is posted.
pub(crate) struct Question(String, Proof);

impl FromRequestParts<Control> for Question {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Control) -> Answer<Self> {
        let path = parts.extensions.get::<MatchedPath>();
        let path = path.map_or("", |p| p.as_str().trim_start_matches("/api/v1"));
        let operation = format!("{} {path}", parts.method);
        let proof = proof_of(&operation).ok_or(Fault::of(Kind::Internal))?;
        Ok(Self(operation, proof))
    }
}

impl Question {
    /// Goes on if the caller has what it takes to ask.
    pub(crate) fn warrant<'a>(&self, caller: &'a Caller, act: &Act<'_>) -> Answer<Warrant<'a>> {
        let Self(operation, proof) = self;
        let (warrant, _) = warrant(caller, (operation, *proof), (act, false))?;
        Ok(warrant)
    }
}

/// What was asked of the caller before an answer was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Granted(pub(crate) Vec<Demand>);

/// Goes on if the caller has what an act takes, here and now.
pub(crate) fn warrant<'a>(
    caller: &'a Caller,
    (operation, proof): (&str, Proof),
    (act, dry_run): (&Act<'_>, bool),
) -> Answer<(Warrant<'a>, Demand)> {
    let demand = act.demand();
    let is_as_declared = match proof {
        Proof::Never => !demand.recent,
        Proof::ByChange => true,
        Proof::Always => demand.recent,
    };
    if !is_as_declared || !act.operations().contains(&operation) {
        tracing::error!(operation, "a write asked for something else than is declared");
        return Err(Fault::of(Kind::Internal));
    }
    judge(caller, &demand, dry_run && demand.looking_is_free)?;
    Ok((Warrant { caller }, demand))
}

/// Whether the caller has what was asked for when an answer was given first: it is not shown again to whoever has
/// lost it since.
pub(crate) fn judge_again(caller: &Caller, demands: &[Demand]) -> Answer<()> {
    demands.iter().try_for_each(|demand| judge(caller, demand, false))
}

fn judge(caller: &Caller, demand: &Demand, only_looks: bool) -> Answer<()> {
    for rank in &demand.ranks {
        let mine = caller.accounts(rank.permission);
        if rank.anywhere && mine.is_some_and(|mine| !mine.is_empty()) {
            continue;
        }
        let scope = rank.account.as_ref().map_or(Scope::Organisation, Scope::Account);
        let judged = caller.require(rank.permission, scope);
        judged.map_err(|fault| rank.detail.map_or(fault, Fault::forbidden))?;
    }
    if demand.writes && !caller.has_scope(TokenScope::Write) {
        return Err(Fault::forbidden("the token lacks the scope `write`"));
    }
    match demand.recent && !only_looks {
        true => caller.require_recent(),
        false => Ok(()),
    }
}

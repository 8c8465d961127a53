//! What a change does to people and agents, worked out before it is made.

use crate::{AccountId, AppId, ClientId, GrantId, Reason, RuleRef, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// Who gains, keeps and loses access by a change: in the answer to a dry run.
///
/// It is decided by the rules that decide about requests. A person who keeps one app and loses another
/// counts in both; nobody counts twice in one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Impact {
    /// Accounts in which something is decided anew.
    pub accounts: i64,
    /// Who can use something that they could not use before: sessions and grants that were kept out, and
    /// people who could not sign in there.
    pub gain: ImpactShare,
    /// Whose sessions and grants go on.
    pub keep: ImpactShare,
    /// Whose sessions and grants stop.
    pub lose: ImpactShare,
    /// Who may sign in, whether or not they have a session or grant now.
    pub sign_in: ImpactSignIn,
    /// API tokens; absent where none is concerned.
    #[serde(default, skip_serializing_if = "ImpactTokens::is_none")]
    pub tokens: ImpactTokens,
    /// Account by account, those with most to lose first; at most 200.
    pub rows: Vec<ImpactRow>,
    /// Accounts that have no row here.
    pub more: i64,
}

/// One of the three shares.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImpactShare {
    /// How many people.
    pub people: i64,
    /// How many agents: grants that one person gave to one client.
    pub agents: i64,
    /// Some of them, at most 20.
    pub names: Vec<ImpactName>,
}

/// Numbers only, for the log and for one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImpactCount {
    /// How many people.
    pub people: i64,
    /// How many agents.
    pub agents: i64,
}

/// How many people can begin something: sign in, consent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImpactSignIn {
    /// Could not before, and could then.
    pub gain: i64,
    /// Could before, and could not then.
    pub lose: i64,
}

/// How many API tokens stop, or are good again: of people whose organisation asks more of them, or who are switched off,
/// and of accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImpactTokens {
    /// Were refused before, and are good then.
    pub gain: i64,
    /// Go on.
    pub keep: i64,
    /// Are good before, and are refused then.
    pub lose: i64,
}

impl ImpactTokens {
    /// Whether none is concerned.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.gain == 0 && self.keep == 0 && self.lose == 0
    }

    /// Whether anything becomes of any.
    #[must_use]
    pub const fn moves(&self) -> bool {
        self.gain != 0 || self.lose != 0
    }
}

/// One person, or one agent of a person, at one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImpactName {
    /// The person.
    pub user: UserId,
    /// Their name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Their e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The agent, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientId>,
    /// The agent's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_name: Option<String>,
    /// The agent's grant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantId>,
    /// In which account.
    pub account: AccountId,
    /// At which app.
    pub app: AppId,
    /// Why: what decides after the change.
    pub reason: Reason,
    /// The rule that decides after the change, if one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// Access that is kept ends then, because the binding drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What happens in one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImpactRow {
    /// Which.
    pub account: AccountId,
    /// Its name.
    pub name: String,
    /// Who gains access.
    pub gain: ImpactCount,
    /// Who keeps it.
    pub keep: ImpactCount,
    /// Who loses it.
    pub lose: ImpactCount,
    /// Who may sign in.
    pub sign_in: ImpactSignIn,
}

/// The impact of a change that was made, in its audit event: of the event's account, if it has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ImpactSummary {
    /// Accounts in which something is decided anew.
    pub accounts: i64,
    /// Who gained access.
    pub gain: ImpactCount,
    /// Who kept it.
    pub keep: ImpactCount,
    /// Who lost it.
    pub lose: ImpactCount,
    /// Who may sign in.
    pub sign_in: ImpactSignIn,
    /// API tokens; absent where none was concerned, or where it is about one account.
    #[serde(default, skip_serializing_if = "ImpactTokens::is_none")]
    pub tokens: ImpactTokens,
}

impl ImpactShare {
    /// Without the names.
    #[must_use]
    pub const fn count(&self) -> ImpactCount {
        ImpactCount {
            people: self.people,
            agents: self.agents,
        }
    }
}

impl Impact {
    /// The numbers for an event that is about `account`, or about no account.
    #[must_use]
    pub fn summary(&self, account: Option<&AccountId>) -> ImpactSummary {
        match account.and_then(|id| self.rows.iter().find(|row| row.account == *id)) {
            Some(row) => ImpactSummary {
                accounts: 1,
                gain: row.gain,
                keep: row.keep,
                lose: row.lose,
                sign_in: row.sign_in,
                tokens: ImpactTokens::default(),
            },
            None => ImpactSummary {
                accounts: self.accounts,
                gain: self.gain.count(),
                keep: self.keep.count(),
                lose: self.lose.count(),
                sign_in: self.sign_in,
                tokens: self.tokens,
            },
        }
    }
}

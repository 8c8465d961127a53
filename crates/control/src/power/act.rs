//! What can be done, and what each takes.

use super::{Demand, Rank};
use serde::Serialize;
use serde_json::Value;
use store::power::{Permission, to_give};
use wire::{
    AccountId, AccountSpec, ApiTokenSpec, AppSpec, ClientSpec, ClientState, ClientTier, Connection,
    ConnectionSpec, EffectiveRole, LinkDecision, OrganisationSpec, Role, ServiceTokenSpec, UserSpec,
    WebhookSpec,
};

/// A role at its place, as it is given or taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'a> {
    pub(crate) role: Role,
    pub(crate) account: Option<&'a AccountId>,
    /// With a password of the organisation's own connection.
    pub(crate) local: bool,
}

impl<'a> Given<'a> {
    pub(crate) const fn new(role: Role, account: Option<&'a AccountId>) -> Self {
        Self {
            role,
            account,
            local: false,
        }
    }
}

/// Whose an API token is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// The caller's.
    Own,
    Account(&'a AccountId),
    /// Another person's, who may be an owner.
    Other {
        of_owner: bool,
    },
}

/// What is to be done, with all that decides what it takes.
pub(crate) enum Act<'a> {
    ChangeOrganisation(&'a OrganisationSpec, &'a OrganisationSpec),
    /// To say whose a public host is, and with whom it is shared.
    Host,
    MakeAccount,
    ChangeAccount(&'a AccountSpec, &'a AccountSpec),
    DeleteAccount,
    /// To give, change or take roles: by hand, by an invitation or by a group.
    Roles(&'a [Given<'a>]),
    RevokeInvitation(Given<'a>),
    /// With the roles of the person.
    ChangeUser(&'a UserSpec, &'a [EffectiveRole]),
    RemoveFactor {
        own: bool,
    },
    /// With the roles of the person whose it is.
    EndSession(&'a [EffectiveRole]),
    MakeConnection(Option<&'a AccountId>, &'a ConnectionSpec),
    ChangeConnection {
        before: &'a Connection,
        after: &'a ConnectionSpec,
        /// Whether an owner of the organisation comes through it.
        of_owner: bool,
    },
    DeleteConnection(Option<&'a AccountId>),
    TryConnection(Option<&'a AccountId>),
    /// To have a provider asked what it says of itself; with addresses of the inside that are opened for it.
    Discover {
        inside: bool,
    },
    /// To try a mapping on somebody's claims.
    PreviewClaims(Option<&'a AccountId>),
    /// To try rules.
    TestRules(&'a AccountId),
    /// To bind a connection or change how it is bound.
    Bind,
    /// To take a binding away, which may have carried nobody any more.
    Unbind {
        detached: bool,
    },
    /// A step of a migration, which may say of an owner who they are.
    Migrate {
        of_owner: bool,
    },
    DecideLink {
        decision: LinkDecision,
        of_owner: bool,
    },
    /// To make a group or a policy, which may let in whoever comes.
    MakeRule {
        account: &'a AccountId,
        bypasses: bool,
    },
    ChangeRule {
        account: &'a AccountId,
        /// Whether more than its name changes.
        in_force: bool,
    },
    DeleteRule(&'a AccountId),
    MakeApp(&'a AccountId),
    ChangeApp(&'a AccountId, &'a AppSpec, &'a AppSpec),
    DeleteApp(&'a AccountId),
    MakeClient(&'a AccountId),
    ChangeClient(&'a AccountId, &'a ClientSpec, &'a ClientSpec),
    /// What it was; a block goes with it.
    DeleteClient(&'a AccountId, ClientState),
    /// To say what the agent of a document is, or that it is not let in, or to take that back.
    Document,
    /// With the roles of the person who gave it.
    RevokeGrant(&'a AccountId, &'a [EffectiveRole]),
    /// To make an API token, or give it another secret.
    ShowApiToken(Whose<'a>),
    ChangeApiToken {
        whose: Whose<'a>,
        before: &'a ApiTokenSpec,
        after: &'a ApiTokenSpec,
    },
    DeleteApiToken(Whose<'a>),
    /// To make a service token, or give it another secret.
    ShowServiceToken(&'a AccountId),
    ChangeServiceToken(&'a AccountId, &'a ServiceTokenSpec, &'a ServiceTokenSpec),
    DeleteServiceToken(&'a AccountId),
    MakeWebhook(Option<&'a AccountId>, &'a WebhookSpec),
    /// To give a webhook another signing secret.
    RotateWebhook(Option<&'a AccountId>),
    ChangeWebhook(Option<&'a AccountId>, &'a WebhookSpec, &'a WebhookSpec),
    DeleteWebhook(Option<&'a AccountId>),
    /// To send what goes there anyway: a test, or a delivery once more.
    SendWebhook(Option<&'a AccountId>),
    RotateKeys,
}

/// Of a connection: notes that nothing depends on.
const NOTES: [&str; 2] = ["name", "client_secret_expires_at"];
/// Of a connection: what does not say who somebody is.
const BESIDE_IDENTITY: [&str; 7] = [
    "name",
    "client_secret_expires_at",
    "scopes",
    "logout",
    "bind_new_accounts",
    "new_account_mode",
    "new_account_claims",
];

const GIVEN_ABOVE: &str = "whoever gave it has a higher rank: block the agent, or deny it by a policy";
const ENDS_OF_OWNER: &str = "only an owner ends what an owner has";
const OF_OWNER: &str = "an owner of the organisation signs in through this connection: only an owner changes who its \
                        people are, or switches it off";
const PAIR_OF_OWNER: &str = "an owner of the organisation is one of the two: only an owner approves this";
const STEP_OF_OWNER: &str = "a link concerns an owner of the organisation: only an owner cuts over with it, or rolls it \
                             back; reject that link, or ask an owner";

impl Act<'_> {
    /// The operations that do it.
    pub(super) const fn operations(&self) -> &'static [&'static str] {
        match self {
            Self::ChangeOrganisation(..) => &["PATCH /organisation"],
            Self::Host => &["POST /hosts", "PATCH /hosts/{id}", "DELETE /hosts/{id}"],
            Self::MakeAccount => &["POST /accounts"],
            Self::ChangeAccount(..) => &["PATCH /accounts/{id}"],
            Self::DeleteAccount => &["DELETE /accounts/{id}"],
            Self::Roles(_) => &[
                "POST /members",
                "PATCH /members/{id}",
                "DELETE /members/{id}",
                "POST /invitations",
                "POST /invitations/{id}/resend",
                "POST /role-mappings",
                "PATCH /role-mappings/{id}",
                "DELETE /role-mappings/{id}",
            ],
            Self::RevokeInvitation(_) => &["DELETE /invitations/{id}"],
            Self::ChangeUser(..) => &["PATCH /users/{id}"],
            Self::RemoveFactor { .. } => &["DELETE /users/{id}/factors/{factor}"],
            Self::EndSession(_) => &["DELETE /sessions/{id}"],
            Self::MakeConnection(..) => &["POST /connections"],
            Self::ChangeConnection { .. } => &["PATCH /connections/{id}"],
            Self::DeleteConnection(_) => &["DELETE /connections/{id}"],
            Self::TryConnection(_) => &["POST /connections/{id}/trials"],
            Self::Discover { .. } => &["POST /connections/discover"],
            Self::PreviewClaims(_) => &["POST /connections/{id}/claims-preview"],
            Self::TestRules(_) => &["POST /policies/test"],
            Self::Bind => &["POST /bindings", "PATCH /bindings", "PATCH /bindings/{id}"],
            Self::Unbind { .. } => &["DELETE /bindings/{id}"],
            Self::Migrate { .. } => &[
                "POST /connection-migrations",
                "POST /connection-migrations/{id}/cut-over",
                "POST /connection-migrations/{id}/roll-back",
                "POST /connection-migrations/{id}/complete",
                "POST /connection-migrations/{id}/links/approve-all",
            ],
            Self::DecideLink { .. } => &["POST /connection-migrations/{id}/links"],
            Self::MakeRule { .. } => &["POST /groups", "POST /policies"],
            Self::ChangeRule { .. } => &["PATCH /groups/{id}", "PATCH /policies/{id}"],
            Self::DeleteRule(_) => &["DELETE /groups/{id}", "DELETE /policies/{id}"],
            Self::MakeApp(_) => &["POST /apps"],
            Self::ChangeApp(..) => &["PATCH /apps/{id}", "POST /agent-attempts/{id}/remedy"],
            Self::DeleteApp(_) => &["DELETE /apps/{id}"],
            Self::MakeClient(_) => &["POST /clients"],
            Self::ChangeClient(..) => &["PATCH /clients/{id}", "POST /agent-attempts/{id}/remedy"],
            Self::DeleteClient(..) => &["DELETE /clients/{id}"],
            Self::Document => &[
                "POST /agent-documents",
                "PATCH /agent-documents/{id}",
                "DELETE /agent-documents/{id}",
                "POST /agent-documents/{id}/refresh",
            ],
            Self::RevokeGrant(..) => &["DELETE /grants/{id}"],
            Self::ShowApiToken(_) => &["POST /api-tokens", "POST /api-tokens/{id}/roll"],
            Self::ChangeApiToken { .. } => &["PATCH /api-tokens/{id}"],
            Self::DeleteApiToken(_) => &["DELETE /api-tokens/{id}"],
            Self::ShowServiceToken(_) => &["POST /service-tokens", "POST /service-tokens/{id}/rotate"],
            Self::ChangeServiceToken(..) => &["PATCH /service-tokens/{id}"],
            Self::DeleteServiceToken(_) => &["DELETE /service-tokens/{id}"],
            Self::MakeWebhook(..) => &["POST /webhooks"],
            Self::RotateWebhook(_) => &["POST /webhooks/{id}/rotate-secret"],
            Self::ChangeWebhook(..) => &["PATCH /webhooks/{id}"],
            Self::DeleteWebhook(_) => &["DELETE /webhooks/{id}"],
            Self::SendWebhook(_) => &[
                "POST /webhooks/{id}/test",
                "POST /webhooks/{id}/deliveries/{delivery}/replay",
            ],
            Self::RotateKeys => &["POST /signing-keys/rotate"],
        }
    }

    /// What it takes.
    pub(super) fn demand(&self) -> Demand {
        match *self {
            // Who has power.
            Self::Roles(given) => roles(given).recent(),
            Self::RevokeInvitation(given) => roles(&[given]),
            Self::ChangeUser(after, roles) => {
                let detail = "only an owner switches an owner off or on";
                // Whoever has no power is switched off at once when something happens.
                let demand = Demand::organisation().recent_if(!after.disabled || !roles.is_empty());
                demand.own_if(is_owner(roles), detail)
            }
            Self::RemoveFactor { own: true } => Demand::none().recent(),
            Self::RemoveFactor { own: false } => Demand::of(Permission::Own, None).recent(),

            // Who people are, and their ways in.
            Self::ChangeOrganisation(before, after) => {
                Demand::organisation().recent_if(differ(before, after, &["name"]))
            }
            Self::MakeConnection(account, spec) => {
                let inside = !spec.allow_internal.is_empty();
                Demand::administer(account).recent().inside_if(inside)
            }
            Self::ChangeConnection {
                before,
                after,
                of_owner,
            } => {
                let is_identity = differ(&before.spec, after, &BESIDE_IDENTITY);
                let demand = Demand::administer(before.account.as_ref());
                let demand = demand.recent_if(differ(&before.spec, after, &NOTES));
                let inside = !after.allow_internal.is_empty();
                let demand = demand.inside_if(inside && after.allow_internal != before.spec.allow_internal);
                demand.own_if(of_owner && is_identity, OF_OWNER)
            }
            Self::DeleteConnection(account) => Demand::administer(account).recent(),
            // It may find out what lies inside, so it is no mere question then.
            Self::Discover { inside } => Demand::anywhere(Permission::Administer)
                .inside_if(inside)
                .recent_if(inside)
                .writes_if(inside),
            Self::Bind => Demand::organisation().recent().look_freely(),
            Self::Unbind { detached } => Demand::organisation().recent_if(!detached).look_freely(),
            Self::Migrate { of_owner } => {
                let demand = Demand::organisation().recent().look_freely();
                demand.own_if(of_owner, STEP_OF_OWNER)
            }
            Self::DecideLink { decision, of_owner } => {
                let approves = decision == LinkDecision::Approved;
                let demand = Demand::organisation().recent_if(approves).look_freely();
                demand.own_if(of_owner && approves, PAIR_OF_OWNER)
            }
            // A rule that no app uses lets nobody in, but a bypass looks like any other in a list.
            Self::MakeRule { account, bypasses } => {
                Demand::of(Permission::Edit, Some(account)).recent_if(bypasses)
            }
            Self::ChangeRule { account, in_force } => {
                Demand::of(Permission::Edit, Some(account)).recent_if(in_force)
            }
            Self::MakeClient(account) => Demand::administer(Some(account)).recent(),
            Self::ChangeClient(account, before, after) => {
                let approves = after.tier == ClientTier::Approved && before.tier != ClientTier::Approved;
                let opens = after.state == ClientState::Active && before.state != ClientState::Active;
                Demand::administer(Some(account)).recent_if(approves || opens)
            }

            // Who an agent is taken for, at all apps.
            Self::Document => Demand::organisation().recent(),

            // What is public, and what goes out.
            Self::Host => Demand::organisation().recent().look_freely(),
            Self::MakeApp(account) | Self::DeleteApp(account) => {
                Demand::of(Permission::Edit, Some(account)).recent()
            }
            Self::ChangeApp(account, before, after) => {
                let harmless: &[&str] = if after.enabled {
                    &["name"]
                } else {
                    &["name", "enabled"]
                };
                Demand::of(Permission::Edit, Some(account)).recent_if(differ(before, after, harmless))
            }
            Self::MakeWebhook(account, spec) => Demand::administer(account)
                .recent()
                .inside_if(spec.allow_internal),
            Self::ChangeWebhook(account, before, after) => {
                let demand = Demand::administer(account).recent_if(differ(before, after, &["name"]));
                let elsewhere = !before.allow_internal || before.url != after.url;
                demand.inside_if(after.allow_internal && elsewhere)
            }
            // Whoever takes a webhook away takes what it would have told.
            Self::DeleteWebhook(account) => Demand::administer(account).recent(),

            // Secrets.
            // Also of one that only reads: what its owner sees then goes wherever the secret goes.
            Self::ShowApiToken(whose) => of_token(whose).recent(),
            Self::ChangeApiToken { whose, before, after } => {
                of_token(whose).recent_if(differ(before, after, &["name"]))
            }
            Self::ShowServiceToken(account) => Demand::administer(Some(account)).recent(),
            Self::ChangeServiceToken(account, before, after) => {
                let longer = match (before.expires_at, after.expires_at) {
                    (Some(before), Some(after)) => after > before,
                    (before, after) => before.is_some() && after.is_none(),
                };
                let opens = after.enabled && !before.enabled;
                let beyond = differ(before, after, &["name", "expires_at", "enabled"]);
                Demand::administer(Some(account)).recent_if(longer || opens || beyond)
            }
            Self::RotateWebhook(account) => Demand::administer(account).recent(),
            Self::RotateKeys => Demand::organisation().recent(),

            // What concerns everybody of an account.
            Self::ChangeAccount(before, after) => {
                Demand::organisation().recent_if(differ(before, after, &["name"]))
            }
            Self::DeleteAccount => Demand::organisation().recent(),

            // What opens nothing.
            Self::MakeAccount => Demand::organisation(),
            Self::EndSession(roles) => Demand::organisation().own_if(is_owner(roles), ENDS_OF_OWNER),
            Self::RevokeGrant(account, roles) => {
                let of_admin = roles.iter().any(|role| role.role == Role::OrgAdmin);
                let demand = Demand::administer(Some(account));
                let demand = demand.and_if(of_admin, Permission::Administer, GIVEN_ABOVE);
                demand.own_if(is_owner(roles), GIVEN_ABOVE)
            }
            Self::TryConnection(account) | Self::PreviewClaims(account) | Self::SendWebhook(account) => {
                Demand::administer(account)
            }
            Self::TestRules(account) => Demand::of(Permission::Read, Some(account)),
            Self::DeleteRule(account) => Demand::of(Permission::Edit, Some(account)),
            Self::DeleteServiceToken(account) => Demand::administer(Some(account)),
            Self::DeleteClient(account, state) => {
                Demand::administer(Some(account)).recent_if(state == ClientState::Blocked)
            }
            Self::DeleteApiToken(whose) => of_token(whose),
        }
    }
}

fn roles(given: &[Given<'_>]) -> Demand {
    let rank = |given: &Given<'_>| {
        let (permission, place) = to_give(given.role, given.account, given.local);
        Rank::new(permission, place)
    };
    Demand {
        ranks: given.iter().map(rank).collect(),
        ..Demand::none()
    }
}

fn of_token(whose: Whose<'_>) -> Demand {
    match whose {
        Whose::Own => Demand::none(),
        Whose::Account(account) => Demand::administer(Some(account)),
        Whose::Other { of_owner } => Demand::organisation().own_if(of_owner, ENDS_OF_OWNER),
    }
}

fn is_owner(roles: &[EffectiveRole]) -> bool {
    roles.iter().any(|role| role.role == Role::OrgOwner)
}

/// Whether two states differ in anything but members that are known to be harmless.
pub(crate) fn differ<T: Serialize>(before: &T, after: &T, harmless: &[&str]) -> bool {
    let (Ok(Value::Object(before)), Ok(Value::Object(after))) =
        (serde_json::to_value(before), serde_json::to_value(after))
    else {
        return true;
    };
    let mut names = before.keys().chain(after.keys());
    names.any(|name| !harmless.contains(&name.as_str()) && before.get(name) != after.get(name))
}

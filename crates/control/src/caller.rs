//! Who calls, and what they may do.
//!
//! | role | reads | audit | apps, policies, groups | clients, grants, members, connections | shared things | owners |
//! |---|---|---|---|---|---|---|
//! | `org_owner` | all | all | all | all | yes | yes |
//! | `org_admin` | all | all | all | all | yes | |
//! | `org_auditor` | all | all | | | | |
//! | `account_admin` | its account | its account | its account | its account | | |
//! | `account_editor` | its account | | its account | | | |
//! | `account_auditor` | its account | its account | | | | |

use crate::fault::{Answer, Fault, Kind};
use crate::input::Cursors;
use crate::lane::Lanes;
use crate::power::Given;
use crate::{Control, idempotency, network, refusal, token};
use axum::{
    extract::{FromRequestParts, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use broker::SignedIn;
use governor::{
    RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DashMapStateStore,
};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use std::sync::Arc;
use store::access::Means;
use store::power::{self, Maker, Verdict};
use store::{Purpose, Store, Tx, user::Person};
use tower_sessions::Session;
use wire::{
    AccountId, ActorKind, ApiToken, AuditActor, AuditChange, AuditEvent, AuditRequest, AuditTarget,
    EffectiveRole, OrgId, Outcome, Reason, Role, TokenScope, UserId,
};

pub(crate) use store::power::Permission;

/// Counts requests by credential.
pub(crate) type Limiter =
    RateLimiter<String, DashMapStateStore<String>, DefaultClock, StateInformationMiddleware>;

/// What a caller came with.
#[derive(Clone)]
pub(crate) enum Credential {
    Token(ApiToken),
    Session(SignedIn),
}

/// Who calls.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) control: Control,
    /// Nobody, for a token that belongs to an account.
    pub(crate) person: Option<Arc<Person>>,
    pub(crate) org: OrgId,
    pub(crate) roles: Arc<[EffectiveRole]>,
    pub(crate) credential: Credential,
    request: AuditRequest,
}

/// Where.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Scope<'a> {
    Organisation,
    Account(&'a AccountId),
}

impl Caller {
    pub(crate) fn store(&self) -> &Store {
        self.control.store()
    }

    /// For searches, exports and counts, which may read much.
    pub(crate) fn reports(&self) -> Store {
        self.store().on(Purpose::Report)
    }

    pub(crate) fn lanes(&self) -> &Lanes {
        self.control.lanes()
    }

    pub(crate) fn cursors(&self) -> &Cursors {
        &self.control.inner.cursors
    }

    /// The person who calls, if it is one.
    pub(crate) fn user(&self) -> Option<&UserId> {
        self.person.as_ref().map(|person| &person.user.id)
    }

    /// On whose word the caller acts: their own, or that of an account's token.
    pub(crate) fn maker(&self) -> Option<Maker> {
        match (self.user(), &self.credential) {
            (Some(user), _) => Some(Maker::Person(user.clone())),
            (None, Credential::Token(token)) => Some(Maker::Token(token.id.clone())),
            (None, Credential::Session(_)) => None,
        }
    }

    /// Opens a transaction on the caller's word.
    pub(crate) async fn begin(&self) -> Answer<Tx> {
        let mut tx = self.store().begin().await?;
        if let Some(maker) = self.maker() {
            tx.on_word_of(maker);
        }
        Ok(tx)
    }

    /// What tells the caller's credential from all others.
    pub(crate) fn credential_key(&self) -> String {
        match &self.credential {
            Credential::Token(token) => token.id.to_string(),
            Credential::Session(signed_in) => signed_in.session.to_string(),
        }
    }

    /// Opens every operation: goes on if the caller may. An account that the caller has no role in does
    /// not exist for them.
    pub(crate) fn require(&self, permission: Permission, scope: Scope<'_>) -> Answer<()> {
        let place = match scope {
            Scope::Organisation => None,
            Scope::Account(account) => Some(account),
        };
        match power::judge(&self.roles, permission, place) {
            Verdict::Yes => Ok(()),
            Verdict::No => Err(Fault::forbidden("no role of the caller allows this")),
            Verdict::Stranger => Err(Fault::not_found()),
        }
    }

    /// Whether [`Caller::require`] would go on.
    pub(crate) fn may(&self, permission: Permission, scope: Scope<'_>) -> bool {
        self.require(permission, scope).is_ok()
    }

    /// Whether the caller may give and take a role.
    pub(crate) fn may_give(&self, given: Given<'_>) -> Answer<()> {
        let (permission, place) = power::to_give(given.role, given.account, given.local);
        self.require(permission, place.map_or(Scope::Organisation, Scope::Account))
    }

    /// Before what does great harm in the wrong hands: goes on if the person in front of the dashboard proved
    /// who they are lately. API tokens pass: whoever made one that writes was asked then, and it does no more than
    /// its owner may now. To be called by [`crate::power`] only, which says what does harm.
    pub(crate) fn require_recent(&self) -> Answer<()> {
        match &self.credential {
            Credential::Session(signed_in) if !signed_in.is_recent(self.store()) => {
                let detail = "This needs a sign-in of the last 15 minutes. Open /login/confirm in this browser to \
                              confirm that it is you, then send the request again.";
                Err(Fault::new(Kind::ReauthenticationRequired, detail))
            }
            Credential::Session(_) | Credential::Token(_) => Ok(()),
        }
    }

    /// The accounts where the caller has `permission`; `None` for all of the organisation.
    pub(crate) fn accounts(&self, permission: Permission) -> Option<Vec<AccountId>> {
        if self.may(permission, Scope::Organisation) {
            return None;
        }
        let mine = self.roles.iter().filter(|m| power::grants(m.role, permission));
        Some(mine.filter_map(|m| m.account.clone()).collect())
    }

    /// As [`Caller::accounts`], of one account only if a filter says so.
    pub(crate) fn accounts_within(
        &self,
        permission: Permission,
        filter: Option<AccountId>,
    ) -> Option<Vec<AccountId>> {
        match (self.accounts(permission), filter) {
            (all, None) => all,
            (None, Some(one)) => Some(vec![one]),
            (Some(mine), Some(one)) => Some(mine.into_iter().filter(|a| *a == one).collect()),
        }
    }

    /// An account named in a body, where the caller must have `permission`.
    pub(crate) async fn account(&self, id: &AccountId, permission: Permission) -> Answer<wire::Account> {
        let found = store::org::account(self.store(), &self.org, id).await;
        let account = found.map_err(|e| Fault::from(e).reference("/account", "account"))?;
        self.require(permission, Scope::Account(id))
            .map_err(|fault| fault.reference("/account", "account"))?;
        Ok(account)
    }

    /// Whether the credential may be used for `scope`.
    pub(crate) fn has_scope(&self, scope: TokenScope) -> bool {
        match &self.credential {
            Credential::Session(_) => true,
            Credential::Token(token) => {
                token.scopes.contains(&scope)
                    || scope == TokenScope::Read && token.scopes.contains(&TokenScope::Write)
            }
        }
    }

    /// What the caller did, for the log.
    pub(crate) fn event(
        &self,
        action: &str,
        account: Option<&AccountId>,
        target: Option<AuditTarget>,
        change: Option<AuditChange>,
    ) -> AuditEvent {
        let mut actor = AuditActor::of(ActorKind::Admin);
        if let Some(person) = &self.person {
            actor.user = Some(person.user.id.clone());
            actor.email.clone_from(&person.user.email);
        }
        let source = match &self.credential {
            Credential::Token(token) => {
                name_token(&mut actor, token);
                "api"
            }
            Credential::Session(signed_in) => {
                actor.session = Some(signed_in.session.clone());
                "dashboard"
            }
        };
        let mut event = store::audit::event(&self.org, source, action, actor);
        event.account = account.cloned();
        event.target = target;
        event.change = change;
        event.request = Some(self.request.clone());
        event
    }
}

fn name_token(actor: &mut AuditActor, token: &ApiToken) {
    actor.token = Some(token.id.clone());
    if let Some(account) = &token.account {
        actor.token_account = Some(account.clone());
        actor.token_name = Some(token.spec.name.clone());
    }
}

impl FromRequestParts<Control> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Control) -> Answer<Self> {
        // Absent only on a route that is not behind `authenticate`.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or(Fault::of(Kind::Internal))
    }
}

/// Lets only known callers through, within their rate, with a credential that is good for this method.
pub(crate) async fn authenticate(State(control): State<Control>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let caller = match identify(&control, &parts).await {
        Ok(caller) => caller,
        Err(fault) => return fault.into_response(),
    };
    let left = match within_rate(&control, &caller) {
        Ok(left) => left,
        Err(fault) => return fault.into_response(),
    };
    let route = parts.extensions.get::<MatchedPath>().cloned();
    let response = match permitted(&caller, &parts) {
        Ok(()) => {
            parts.extensions.insert(caller.clone());
            idempotency::once(&caller, Request::from_parts(parts, body), next).await
        }
        Err(fault) => fault.into_response(),
    };
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let mut response = refusal::note(&caller, route, response).await;
    let policy = HeaderValue::from_static("\"default\";q=200;w=2");
    response.headers_mut().insert("ratelimit-policy", policy);
    if let Ok(value) = format!("\"default\";r={left};t=1").parse() {
        response.headers_mut().insert("ratelimit", value);
    }
    response
}

async fn identify(control: &Control, parts: &Parts) -> Answer<Caller> {
    let store = control.store();
    let context = parts.extensions.get::<AuditRequest>().cloned();
    let context = context.ok_or(Fault::of(Kind::Internal))?;
    let (person, org, credential) = if parts.headers.contains_key(header::AUTHORIZATION) {
        let (org, token) = by_token(control, &parts.headers, &context).await?;
        let person = match &token.owner {
            Some(owner) => Some(store::user::get(store, &org, owner).await?),
            None => None,
        };
        if let Some(person) = &person {
            stands(control, (person, &token), &context).await?;
        }
        (person, org, Credential::Token(token))
    } else {
        let session = parts.extensions.get::<Session>();
        let session = session.ok_or(Fault::of(Kind::Unauthenticated))?;
        let signed_in = broker::signed_in(session, store).await?;
        let signed_in = signed_in.ok_or(Fault::of(Kind::Unauthenticated))?;
        if !parts.method.is_safe() && !has_csrf(store, &signed_in, &parts.headers) {
            // Somebody else's page, perhaps: the person whose browser it is did nothing.
            record_unknown(
                store,
                &signed_in.person.org,
                ("api.refuse", "csrf_token"),
                &context,
            )
            .await;
            let detail = format!("the {} header is missing or wrong", wire::CSRF_HEADER);
            return Err(Fault::forbidden(detail));
        }
        let person = signed_in.person.clone();
        let org = person.org.clone();
        (Some(person), org, Credential::Session(signed_in))
    };
    let roles = match (&person, &credential) {
        (Some(person), _) => store::org::roles_of(store, &person.user.id).await?,
        (None, Credential::Token(token)) => token.role.map(|role| own(token, role)).into_iter().collect(),
        (None, Credential::Session(_)) => Vec::new(),
    };
    Ok(Caller {
        control: control.clone(),
        person: person.map(Arc::new),
        org,
        roles: roles.into(),
        credential,
        request: context,
    })
}

fn has_csrf(store: &Store, signed_in: &SignedIn, headers: &HeaderMap) -> bool {
    let sent = headers.get(wire::CSRF_HEADER).and_then(|v| v.to_str().ok());
    sent.is_some_and(|token| signed_in.csrf_ok(store, "api", token))
}

/// The role of a token that belongs to an account.
fn own(token: &ApiToken, role: Role) -> EffectiveRole {
    EffectiveRole {
        role,
        account: token.account.clone(),
        member: None,
        mapping: None,
    }
}

/// Goes on if the token's owner is still vouched for: a token is automation in somebody's name, and no more lasting
/// than an agent. Whoever has it learns what is missing, because they can bring it.
async fn stands(
    control: &Control,
    (person, token): (&Person, &ApiToken),
    request: &AuditRequest,
) -> Answer<()> {
    let store = control.store();
    let standing = store::user::standing(store, person).await?;
    let standing = standing.ok_or(Fault::of(Kind::Unauthenticated))?;
    let (reason, detail) = match standing.lacks(person, Means::Token, store.clock().now()) {
        None => return Ok(()),
        Some(Reason::SecondFactorMissing) => (
            "second_factor_missing",
            "The organisation asks for a second factor, and the token's owner has none. It is good again once they \
             have signed in and added one.",
        ),
        Some(_) => (
            "proof_too_old",
            "The identity provider has not vouched for the token's owner for too long. It is good again once they have \
             signed in.",
        ),
    };
    record_refused(control, (&person.org, token), reason, request).await;
    Err(Fault::new(Kind::Unauthenticated, detail))
}

/// All that is wrong with a token itself has the same answer.
async fn by_token(
    control: &Control,
    headers: &HeaderMap,
    request: &AuditRequest,
) -> Answer<(OrgId, ApiToken)> {
    let store = control.store();
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let hash = match (sent.next(), sent.next()) {
        (Some(value), None) => value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .and_then(|(_, text)| token::hash_of(text.trim())),
        _ => None,
    };
    let hash = hash.ok_or(Fault::of(Kind::Unauthenticated))?;
    let now = store.clock().now();
    let found = store::api_token::by_hash(store, &hash, now).await?;
    let Some((org, token)) = found else {
        // In whose log it belongs is plain only where there is one.
        if let Some(only) = store::org::only(store).await? {
            let refused = ("api_token.refuse", "credential_invalid");
            record_unknown(store, &only, refused, request).await;
        }
        return Err(Fault::of(Kind::Unauthenticated));
    };
    if !network::allows(&token.spec.allowed_ips, request.ip.as_deref()) {
        record_refused(control, (&org, &token), "address_not_allowed", request).await;
        return Err(Fault::of(Kind::Unauthenticated));
    }
    if token.last_used_at.is_none_or(|last| last.plus_seconds(60) <= now) {
        let mut tx = store.begin().await?;
        store::api_token::note_use(&mut tx, &token.id, request.ip.as_deref()).await?;
        tx.commit_housekeeping().await?;
    }
    Ok((org, token))
}

/// Notes what somebody was refused of whom nobody knows who they are; however many come, it is one event with a count.
async fn record_unknown(store: &Store, org: &OrgId, (action, reason): (&str, &str), request: &AuditRequest) {
    let mut event = store::audit::event(org, "api", action, AuditActor::of(ActorKind::Anonymous));
    event.outcome = Outcome::Denied;
    event.reason = Some(reason.to_owned());
    event.request = Some(request.clone());
    if let Err(error) = store.record_folded(event).await {
        tracing::error!(%error, "a refusal could not be recorded");
    }
}

/// A good token that is refused is somebody's mistake or a theft: the log says so, within the token's rate.
async fn record_refused(
    control: &Control,
    (org, token): (&OrgId, &ApiToken),
    reason: &str,
    request: &AuditRequest,
) {
    if control.inner.limiter.check_key(&token.id.to_string()).is_err() {
        return;
    }
    let mut actor = AuditActor::of(ActorKind::Anonymous);
    name_token(&mut actor, token);
    let mut event = store::audit::event(org, "api", "api_token.refuse", actor);
    event.account.clone_from(&token.account);
    event.target = Some(store::audit::target(
        "api_token",
        &token.id,
        Some(&token.spec.name),
    ));
    event.outcome = Outcome::Denied;
    event.reason = Some(reason.to_owned());
    event.request = Some(request.clone());
    if let Err(error) = control.store().record_folded(event).await {
        tracing::error!(%error, "a refused token could not be recorded");
    }
}

/// How many requests the credential has left at once.
fn within_rate(control: &Control, caller: &Caller) -> Answer<u32> {
    let key = caller.credential_key();
    let limiter = &control.inner.limiter;
    match limiter.check_key(&key) {
        Ok(state) => Ok(state.remaining_burst_capacity()),
        Err(until) => {
            let wait = until.wait_time_from(limiter.clock().now());
            // Whoever runs into the limit pays for forgetting those who did not for long.
            limiter.retain_recent();
            Err(Fault::of(Kind::TooManyRequests).retry_after(wait.as_secs() + 1))
        }
    }
}

/// Whether roles and token scopes allow this kind of request at all.
fn permitted(caller: &Caller, parts: &Parts) -> Answer<()> {
    if caller.roles.is_empty() {
        return Err(Fault::forbidden("the caller has no role in the organisation"));
    }
    let path = parts.extensions.get::<MatchedPath>();
    let path = path.map_or("", |p| p.as_str().trim_start_matches("/api/v1"));
    let method = parts.method.as_str();
    crate::power::gate(&format!("{method} {path}"))?;
    let read = !crate::power::is_write(method, path);
    // Deliveries are parts of the log.
    let (scope, name) = if path.starts_with("/audit") || (read && path.contains("/deliveries")) {
        (TokenScope::Audit, "audit")
    } else if read {
        (TokenScope::Read, "read")
    } else {
        (TokenScope::Write, "write")
    };
    if caller.has_scope(scope) {
        Ok(())
    } else {
        Err(Fault::forbidden(format!("the token lacks the scope `{name}`")))
    }
}

//! What a credential proves, and how that reads under the configuration of the moment.

use crate::recorder::WayIn;
use crate::site::{Site, TokensFor};
use arc_swap::ArcSwapOption;
use http::HeaderValue;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Weak};
use store::AppView;
use store::access::{Principal, Proof};
use store::user::Person;
use tokens::Keyring;
use wire::{AccountId, Actor, AppId, Authentication, Client, GrantId, ServiceTokenId, SessionId, Timestamp};

/// A caller that a credential proves.
pub(crate) struct Known {
    /// At this app and no other.
    pub(crate) app: AppId,
    /// The app's account.
    account: AccountId,
    pub(crate) by: By,
    /// When the credential ends by itself.
    pub(super) ends: Timestamp,
    /// What follows from that under one configuration.
    judged: ArcSwapOption<Judged>,
    /// The headers for the origin, made at the first request and reused for a while.
    pub(crate) minted: ArcSwapOption<Minted>,
}

/// Who acts.
pub(crate) enum By {
    /// A person in a browser, by a session.
    Browser(Box<Person>, Box<AppSession>),
    /// An agent for a person.
    Agent(Box<Person>, Box<Agent>),
    /// A service token, for nobody.
    Service(Box<Service>),
}

/// A session at the app.
pub(crate) struct AppSession {
    pub(crate) id: SessionId,
    /// How the person proved who they are, in the session that it came from.
    pub(crate) authentication: Authentication,
}

/// A service token that was proven.
pub(crate) struct Service {
    pub(crate) id: ServiceTokenId,
    pub(crate) name: String,
    /// When a use was noted last, in seconds.
    pub(super) noted: AtomicI64,
}

/// An agent with its grant.
pub(crate) struct Agent {
    pub(crate) client: Client,
    pub(crate) grant: GrantId,
    /// How the person had proved who they are when they gave the grant.
    pub(crate) authentication: Authentication,
    /// What the token may do: its scopes, as far as the grant still has them.
    pub(crate) scopes: Vec<String>,
    pub(super) jti: String,
    /// Which key its token was signed with, and for what.
    pub(super) key: String,
    pub(super) meant_for: Arc<TokensFor>,
    /// How far it came with this token.
    pub(crate) way_in: WayIn,
}

/// What the origin is told about the caller.
pub(crate) struct Minted {
    /// What is released, and what it is signed with, can change.
    pub(crate) under: Under,
    pub(crate) reuse_until: Timestamp,
    pub(crate) assertion: HeaderValue,
    /// `X-Chatelaine-User`, `-Email`, `-Groups`.
    pub(crate) plain: [Option<HeaderValue>; 3],
}

impl Known {
    pub(super) fn new(view: &AppView, by: By, ends: Timestamp) -> Self {
        Self {
            app: view.app.id.clone(),
            account: view.account.id.clone(),
            by,
            ends,
            judged: ArcSwapOption::empty(),
            minted: ArcSwapOption::empty(),
        }
    }

    pub(crate) fn agent(&self) -> Option<&Agent> {
        match &self.by {
            By::Agent(_, agent) => Some(agent),
            By::Browser(..) | By::Service(_) => None,
        }
    }

    /// The person, perhaps through an agent.
    pub(crate) fn person(&self) -> Option<&Person> {
        match &self.by {
            By::Browser(person, _) | By::Agent(person, _) => Some(person),
            By::Service(_) => None,
        }
    }

    /// Who asks, to the access decision.
    pub(crate) fn principal(&self) -> Principal<'_> {
        match &self.by {
            By::Browser(person, session) => Principal::Person(person, Proof::Of(&session.authentication)),
            By::Agent(person, agent) => Principal::Agent {
                person,
                proof: Proof::Of(&agent.authentication),
                client: &agent.client,
                scopes: Some(&agent.scopes),
            },
            By::Service(service) => Principal::Service(&service.id),
        }
    }

    pub(crate) const fn is_browser(&self) -> bool {
        matches!(self.by, By::Browser(..))
    }

    pub(crate) const fn actor(&self) -> Actor {
        match self.by {
            By::Browser(..) => Actor::Browser,
            By::Agent(..) => Actor::Agent,
            By::Service(_) => Actor::Service,
        }
    }

    /// Until when this is good at an app as it is now, with the keys that there are now; `None` when it is not. Worked
    /// out once for each of them, from what was proven.
    pub(super) fn until(&self, site: &Site, keyring: &Keyring) -> Option<Timestamp> {
        if let Some(judged) = &*self.judged.load()
            && judged.under.is_now(site, keyring)
        {
            return Some(judged.until);
        }
        let under = Under::now(site, keyring);
        let until = self.judge(site, keyring)?;
        self.judged.store(Some(Arc::new(Judged { under, until })));
        Some(until)
    }

    fn judge(&self, site: &Site, keyring: &Keyring) -> Option<Timestamp> {
        let view = &site.view;
        if self.app != view.app.id || self.account != view.account.id {
            return None;
        }
        let mut until = self.ends;
        if let By::Agent(_, agent) = &self.by {
            if *agent.meant_for != *site.tokens_for {
                return None;
            }
            until = until.min(keyring.good_until(&view.org, &agent.key)?);
        }
        // After that the provider may have vouched anew: it is looked up once more.
        Some(
            view.good_until(self.principal())
                .map_or(until, |good| good.min(until)),
        )
    }
}

/// Under what something was worked out: an app as it was, and keys.
pub(crate) struct Under {
    view: Weak<AppView>,
    keys: u64,
}

impl Under {
    /// Asked before anything is read of them: they may change meanwhile.
    pub(crate) fn now(site: &Site, keyring: &Keyring) -> Self {
        Self {
            view: Arc::downgrade(&site.view),
            keys: keyring.generation(),
        }
    }

    pub(crate) fn is_now(&self, site: &Site, keyring: &Keyring) -> bool {
        // Another view is never at the place of one that somebody remembers.
        self.keys == keyring.generation() && self.view.as_ptr() == Arc::as_ptr(&site.view)
    }
}

/// What follows from a proof.
struct Judged {
    under: Under,
    until: Timestamp,
}

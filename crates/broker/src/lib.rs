//! People: sign-in through the bound connection, sessions, and the pages for both.
//!
//! - [`router`] serves `/login`, `/logout`, `/me` and `/signin` on the control origin, inside
//!   [`session_layer`] and behind whatever puts [`wire::AuditRequest`] into the extensions.
//! - [`signed_in`] tells the other surfaces of the control origin who asks.
//! - [`page`] is what their pages for people share.
//!
//! It knows nothing of OAuth clients, tokens or the REST API.

mod audit;
mod backchannel;
mod browser;
mod budget;
mod claims;
mod confirm;
mod cookie;
mod csrf;
mod discovery;
mod email_code;
mod github;
mod health;
mod invite;
mod jws;
mod lanes;
mod local;
mod login;
mod logout;
pub mod mail;
mod me;
mod oidc;
pub mod page;
mod password;
mod pending;
mod provider;
mod refused;
mod return_to;
mod second_factor;
mod session;
mod signin;
mod tokens;
mod trace;
mod trial;
mod upstream;
mod vouch;

pub use password::{MAX_LENGTH, MIN_LENGTH, hash_password, judge_password, set_local_password};
pub use return_to::safe as safe_return_to;
pub use session::{Sessions, SignedIn, cookie_name, session_layer, signed_in};
pub use trial::{ProviderFault, Reading};

use axum::Router;
use axum::extract::FromRequestParts;
use axum::routing::{get, post};
use http::request::Parts;
use outbound::Outbound;
use page::Failure;
use second_factor::manage;
use std::sync::Arc;
use store::Store;
use tower_sessions::Session;
use wire::AuditRequest;

/// What the broker needs.
pub struct BrokerConfig {
    /// What the system remembers.
    pub store: Store,
    /// How to reach identity providers.
    pub outbound: Outbound,
    /// The control plane's public URL, without a trailing slash.
    pub control_url: String,
    /// How mail leaves the server.
    pub mailer: mail::Mailer,
}

/// Signs people in. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    store: Store,
    control_url: String,
    providers: provider::Providers,
    mailer: mail::Mailer,
    passkeys: second_factor::Passkeys,
    /// What may be attempted at a time.
    budgets: budget::Budgets,
}

impl Broker {
    /// A broker over `config`.
    #[must_use]
    pub fn new(config: BrokerConfig) -> Self {
        let control_url = config.control_url.trim_end_matches('/').to_owned();
        Self(Arc::new(Inner {
            providers: provider::Providers::new(config.outbound, &control_url),
            budgets: budget::Budgets::default(),
            store: config.store,
            mailer: config.mailer,
            passkeys: second_factor::Passkeys::new(&control_url),
            control_url,
        }))
    }

    /// How mail leaves the server.
    #[must_use]
    pub fn mailer(&self) -> &mail::Mailer {
        &self.0.mailer
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    fn passkeys(&self) -> &second_factor::Passkeys {
        &self.0.passkeys
    }

    fn providers(&self) -> &provider::Providers {
        &self.0.providers
    }

    fn control_url(&self) -> &str {
        &self.0.control_url
    }

    fn budgets(&self) -> &budget::Budgets {
        &self.0.budgets
    }
}

/// The routes for people on the control origin.
pub fn router(broker: Broker) -> Router {
    Router::new()
        .route("/login", get(login::choose))
        .route("/login/password", post(local::sign_in))
        .route("/login/oidc/{connection}", get(upstream::start))
        .route("/login/callback", get(upstream::shared_callback))
        .route("/login/callback/{connection}", get(upstream::callback))
        .route("/login/trial/{token}", get(trial::show).post(trial::run))
        .route(
            "/login/email/{connection}",
            get(email_code::ask).post(email_code::send),
        )
        .route(
            "/login/email/{connection}/code",
            get(email_code::enter).post(email_code::redeem),
        )
        .route("/login/signed-out", get(logout::back))
        .route("/login/confirm", get(confirm::ask).post(confirm::by_password))
        .route("/login/confirm/provider", post(confirm::at_provider))
        .route("/invite/{secret}", get(invite::show).post(invite::accept))
        .route(
            "/login/factor",
            get(second_factor::ask).post(second_factor::check),
        )
        .route(
            "/login/passkey",
            get(second_factor::alone::ask).post(second_factor::alone::sign_in),
        )
        .route("/login/passkey.js", get(second_factor::script))
        .route("/login/enrol", get(manage::must))
        .route(
            "/login/enrol/totp",
            get(manage::must_totp).post(manage::add_must_totp),
        )
        .route(
            "/login/enrol/passkey",
            get(manage::must_passkey).post(manage::add_must_passkey),
        )
        .route("/me/security", get(manage::show))
        .route(
            "/me/security/totp",
            get(manage::my_totp).post(manage::add_my_totp),
        )
        .route(
            "/me/security/passkey",
            get(manage::my_passkey).post(manage::add_my_passkey),
        )
        .route("/me/security/recovery", post(manage::renew_recovery))
        .route("/me/security/factors/{factor}/rename", post(manage::rename))
        .route("/me/security/factors/{factor}/remove", post(manage::remove))
        .route("/logout", get(logout::confirm).post(logout::logout))
        .route("/me", get(me::show))
        .route("/me/grants/revoke", post(me::revoke_all))
        .route("/me/grants/{grant}/revoke", post(me::revoke))
        .route("/me/sessions/{session}/end", post(me::end_session))
        .route("/signin/{app}", get(signin::sign_in))
        .layer(axum::middleware::from_fn_with_state(
            broker.clone(),
            browser::recognise,
        ))
        .layer(axum::middleware::from_fn(page::render))
        // For machines: its refusals are no pages.
        .route("/login/backchannel/{connection}", post(backchannel::logout))
        .with_state(broker)
}

/// Paths that go on with a secret.
const SECRET_PATHS: [&str; 2] = ["/invite/", "/login/trial/"];

/// A request of somebody's browser.
struct Visit {
    broker: Broker,
    request: AuditRequest,
    session: Session,
    /// Absent for machines.
    browser: Option<browser::Browser>,
    /// What its forms hang on while nobody is signed in.
    forms: csrf::FormSecret,
    /// What its browser has out at providers.
    attempts: pending::Attempts,
    /// From where the browser says that the request was sent (`Sec-Fetch-Site`), if it says so.
    sent_from: Option<SentFrom>,
}

/// What a browser says about the page that sent a request. No page can make a browser say something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SentFrom {
    /// A page of ours.
    Here,
    Elsewhere,
}

impl SentFrom {
    fn of(headers: &http::HeaderMap, control_url: &str) -> Option<Self> {
        let mut sites = headers.get_all("sec-fetch-site").iter();
        // Where a form comes from whose page sends no referrer, the origin is `null`.
        let origin = |value: &http::HeaderValue| value == control_url || value == "null";
        let other = !headers.get_all(http::header::ORIGIN).iter().all(origin);
        let Some(site) = sites.next() else {
            return other.then_some(Self::Elsewhere);
        };
        match site.as_bytes() {
            _ if other || sites.next().is_some() => Some(Self::Elsewhere),
            b"same-origin" => Some(Self::Here),
            // Typed, or reloaded.
            b"none" => None,
            _ => Some(Self::Elsewhere),
        }
    }
}

impl Visit {
    fn store(&self) -> &Store {
        self.broker.store()
    }

    async fn signed_in(&self) -> store::Result<Option<SignedIn>> {
        signed_in(&self.session, self.store()).await
    }

    /// Whether a form with which nobody is signed in yet came from our own page: by the browser's word where it gives
    /// one, else by the token. Tabs that are opened at once each get a secret, and only one of those stays: the token
    /// of the others is worth nothing any more, though nothing is wrong with them.
    fn is_our_form(&self, purpose: &str, token: &str) -> bool {
        match self.sent_from {
            Some(SentFrom::Here) => true,
            Some(SentFrom::Elsewhere) => false,
            None => self.form_token_ok(purpose, token),
        }
    }

    /// The CSRF token for a form with which nobody is signed in yet.
    fn form_token(&self, purpose: &str) -> String {
        self.forms.token(self.store(), purpose)
    }

    /// Whether `token` is the one of [`Visit::form_token`].
    fn form_token_ok(&self, purpose: &str, token: &str) -> bool {
        self.forms.fits(self.store(), purpose, token)
    }

    /// Whether this browser, or its network if it is none that is known, has tried too much of a kind of late. Not
    /// recorded: whoever floods must not fill the log. The metric counts it.
    fn is_flooding(&self, act: budget::Act) -> bool {
        let by = match &self.browser {
            Some(browser) => browser.or_network(&self.request),
            None => browser::network_place(&self.request),
        };
        self.has_spent(act, &by)
    }

    /// As [`Visit::is_flooding`], for what `by` names.
    fn has_spent(&self, act: budget::Act, by: &str) -> bool {
        let spent = !self.broker.budgets().spend(act, by, self.store().clock().now());
        if spent {
            metrics::counter!("chatelaine_sign_ins_total", "outcome" => "rate_limited").increment(1);
        }
        spent
    }
}

impl FromRequestParts<Broker> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, broker: &Broker) -> Result<Self, Failure> {
        let missing = |what: &str| Failure::Store(store::Error::internal(format!("{what} is missing")));
        let mut request = parts.extensions.get::<AuditRequest>().cloned();
        let session = parts.extensions.get::<Session>().cloned();
        if let Some(request) = &mut request
            && let Some(known) = SECRET_PATHS
                .iter()
                .find(|known| request.path.starts_with(**known))
        {
            // What follows has no place in the log.
            request.path.truncate(known.len());
        }
        Ok(Self {
            broker: broker.clone(),
            request: request.ok_or_else(|| missing("the request context"))?,
            session: session.ok_or_else(|| missing("the session layer"))?,
            browser: parts.extensions.get().cloned(),
            forms: match parts.extensions.get().cloned() {
                Some(forms) => forms,
                None => csrf::FormSecret::of(&parts.headers, broker.control_url())?,
            },
            attempts: pending::Attempts::of(&parts.headers, broker.control_url()),
            sent_from: SentFrom::of(&parts.headers, broker.control_url()),
        })
    }
}

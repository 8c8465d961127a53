//! Sign-in with a one-time code by e-mail, for people without an identity provider.
//!
//! ```text
//! POST /login/email/{connection}       address ── may sign in? ── yes: mail with a code
//!        │                                                     └─ no: none, and the same answer
//!        ▼ attempt in the browser's session
//! POST /login/email/{connection}/code  right, in this browser, in time, few guesses ──> session, return_to
//! ```
//!
//! The mail holds a code and no link: whoever reads it elsewhere can sign in nowhere with it.

use crate::budget::Act;
use crate::lanes::{CODE, Lanes};
use crate::login::{Asked, Place, home, place};
use crate::mail::Mail;
use crate::page::{Failure, Forms, html, redirect};
use crate::refused::{At, refuse};
use crate::return_to::{safe, with_query};
use crate::upstream::{Behind, admit, usable};
use crate::{Visit, audit, claims, confirm, me, session};
use askama::Template;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{Path, Query};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use store::email_code::{Guess, LIFE, NewCode};
use store::user::Identity;
use wire::{
    AccountId, ActorKind, Address, AuditActor, AuditEvent, Authentication, Connection, ConnectionId,
    ConnectionKind, SessionId, Timestamp,
};

/// The purpose of the CSRF token in the form for the address.
const PURPOSE: &str = "email code";
/// The key of all that is [`Waiting`] in a session.
const WAITING: &str = "email_codes";
/// Codes that one browser waits for at once: tabs.
const MOST_WAITING: usize = 8;
/// Letters that nobody confuses, and that spell no words (RFC 8628, section 6.1).
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Letters of a code: with five guesses each, hopeless.
const LENGTH: usize = 8;

/// A tab that waits for its code, as the browser's session remembers it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    /// Which row of the store is about it.
    attempt: String,
    address: String,
    connection: ConnectionId,
    account: Option<AccountId>,
    return_to: Option<String>,
    until: Timestamp,
    /// The session whose person proves once more who they are.
    confirms: Option<SessionId>,
}

impl Waiting {
    /// The purpose of the CSRF token in the form for the code: of this one, so that a tab's code goes to the
    /// attempt of that tab.
    fn purpose(&self) -> String {
        format!("{PURPOSE} {}", store::sha256(&self.attempt))
    }
}

#[derive(Template)]
#[template(path = "email.html")]
struct EmailPage<'a> {
    organisation: &'a str,
    connection: &'a str,
    action: String,
    csrf: &'a str,
    address: &'a str,
    return_to: Option<&'a str>,
    account_id: Option<&'a str>,
    confirms: bool,
    error: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    organisation: &'a str,
    address: &'a str,
    action: String,
    again: String,
    csrf: &'a str,
    error: Option<&'a str>,
}

/// A form of these pages.
#[derive(Default, Deserialize)]
pub(crate) struct Typed {
    csrf: Option<String>,
    address: Option<String>,
    code: Option<String>,
    return_to: Option<String>,
    account: Option<String>,
    confirm: Option<String>,
}

type Submitted = Result<Form<Typed>, FormRejection>;

/// Connection and place of a request.
struct Here {
    place: Place,
    connection: Connection,
    asked: Asked,
}

impl Here {
    async fn of(visit: &Visit, id: &str, asked: Asked) -> Result<Self, Failure> {
        let id = id.parse::<ConnectionId>().map_err(|_| Failure::NotFound)?;
        let to = asked.account.as_deref().map(str::parse::<AccountId>).transpose();
        let to = to.map_err(|_| Failure::NotFound)?;
        let (org, connection) = usable(visit, &id, to.as_ref(), ConnectionKind::EmailCode).await?;
        let of_org = store::org::get(visit.store(), &org).await?;
        let asked = Asked {
            org: Some(of_org.slug),
            ..asked
        };
        let place = place(visit, &asked).await?.ok_or(Failure::NotFound)?;
        if !visit.broker.mailer().is_configured() {
            let text = "Codes by e-mail cannot be sent at the moment. Ask your administrator.";
            return Err(Failure::told(
                StatusCode::SERVICE_UNAVAILABLE,
                "No mail can be sent",
                text,
            ));
        }
        Ok(Self {
            place,
            connection,
            asked,
        })
    }

    fn at(&self) -> At<'_> {
        (&self.place.org.id, &self.connection, self.place.account_id())
    }

    /// The path of one of the pages, with what they carry on.
    fn link(&self, more: &str) -> String {
        let pairs = [
            ("return_to", self.asked.return_to()),
            ("account", self.place.account_id().map(AsRef::as_ref)),
            ("confirm", self.asked.confirm.as_deref()),
        ];
        with_query(&format!("/login/email/{}{more}", self.connection.id), &pairs)
    }

    async fn email_page(
        &self,
        visit: &Visit,
        address: &str,
        error: Option<(StatusCode, &str)>,
    ) -> Result<Response, Failure> {
        let csrf = visit.form_token(PURPOSE);
        let page = EmailPage {
            organisation: &self.place.org.spec.name,
            connection: &self.connection.spec.name,
            action: format!("/login/email/{}", self.connection.id),
            csrf: &csrf,
            address,
            return_to: self.asked.return_to(),
            account_id: self.place.account_id().map(AsRef::as_ref),
            confirms: self.asked.confirm.is_some(),
            error: error.map(|(_, text)| text),
        };
        let status = error.map_or(StatusCode::OK, |(status, _)| status);
        Ok(html(status, &page, Forms::Here))
    }

    async fn code_page(
        &self,
        visit: &Visit,
        waiting: &Waiting,
        error: Option<(StatusCode, &str)>,
    ) -> Result<Response, Failure> {
        let csrf = visit.form_token(&waiting.purpose());
        let page = CodePage {
            organisation: &self.place.org.spec.name,
            address: &waiting.address,
            action: format!("/login/email/{}/code", self.connection.id),
            again: self.link(""),
            csrf: &csrf,
            error: error.map(|(_, text)| text),
        };
        let status = error.map_or(StatusCode::OK, |(status, _)| status);
        // Signing in leads on to apps and agents.
        Ok(html(status, &page, Forms::Anywhere))
    }
}

/// `GET /login/email/{connection}`.
pub(crate) async fn ask(
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let here = Here::of(&visit, &id, asked).await?;
    let known = match here.asked.confirm {
        Some(_) => visit.signed_in().await?.and_then(|who| who.person.user.email),
        None => None,
    };
    here.email_page(&visit, known.as_deref().unwrap_or_default(), None)
        .await
}

/// `POST /login/email/{connection}`: sends a code, if the address may have one.
pub(crate) async fn send(visit: Visit, Path(id): Path<String>, form: Submitted) -> Result<Response, Failure> {
    let typed = submitted(&visit, form).await?;
    let asked = Asked {
        return_to: typed.return_to,
        account: typed.account,
        confirm: typed.confirm,
        ..Asked::default()
    };
    let here = Here::of(&visit, &id, asked).await?;
    let typed = typed.address.unwrap_or_default();
    let shown: String = typed.chars().take(254).collect();
    let Some(address) = address(&typed) else {
        let error = (StatusCode::BAD_REQUEST, "This is not an e-mail address.");
        return here.email_page(&visit, &shown, Some(error)).await;
    };
    if visit.is_flooding(Act::Code) {
        return too_many(&visit, &here, &shown).await;
    }
    let confirms = match here.asked.confirm {
        Some(_) => {
            let who = visit.signed_in().await?;
            let who = who.filter(|who| who.person.user.connection == here.connection.id);
            Some(who.ok_or(Failure::NotFound)?.session)
        }
        None => None,
    };
    let lanes = lanes(&visit, &here.connection, &address, confirms.as_ref()).await?;
    let Some(attempt) = offer(&visit, &here, &address, &lanes).await? else {
        return too_many(&visit, &here, &shown).await;
    };
    let waiting = Waiting {
        attempt,
        address,
        connection: here.connection.id.clone(),
        account: here.place.account_id().cloned(),
        return_to: here.asked.return_to().map(ToOwned::to_owned),
        until: visit.store().clock().now().plus_seconds(LIFE),
        confirms,
    };
    let mut all = all_waiting(&visit).await?;
    let excess = (all.len() + 1).saturating_sub(MOST_WAITING);
    all.drain(..excess);
    all.push(waiting);
    keep_waiting(&visit, &all).await?;
    Ok(redirect(&here.link("/code")))
}

async fn too_many(visit: &Visit, here: &Here, shown: &str) -> Result<Response, Failure> {
    // Not recorded: whoever floods must not fill the log.
    metrics::counter!("chatelaine_sign_ins_total", "outcome" => "rate_limited").increment(1);
    let error = "Too many codes were asked for. Wait a few minutes, or use the last one that arrived here.";
    here.email_page(visit, shown, Some((StatusCode::TOO_MANY_REQUESTS, error)))
        .await
}

/// Makes a code, and sends it where the address may sign in. `None` when there were too many of late; the answer
/// does not depend on whether the address may sign in.
async fn offer(visit: &Visit, here: &Here, address: &str, lanes: &Lanes) -> Result<Option<String>, Failure> {
    let allowed = is_allowed(&here.connection, address);
    let attempt = store::random_secret("")?;
    let code = fresh_code()?;
    let mut tx = visit.store().begin().await?;
    let new = NewCode {
        attempt: &attempt,
        connection: &here.connection.id,
        address,
        code: allowed.then_some(code.as_str()),
    };
    if !lanes.count(&mut tx, CODE).await? {
        return Ok(None);
    }
    store::email_code::offer(&mut tx, new).await?;
    let (org, connection, account) = here.at();
    if allowed {
        let actor = AuditActor {
            email: Some(address.to_owned()),
            ..AuditActor::of(ActorKind::Anonymous)
        };
        let event = AuditEvent {
            account: account.cloned(),
            target: Some(audit::connection(connection)),
            ..audit::event(visit, org, "login.code_sent", actor)
        };
        tx.commit(event).await?;
    } else {
        tx.commit_housekeeping().await?;
        refuse(visit, here.at(), "email_domain").await;
    }
    if allowed {
        post(visit, here, mail(visit, here, address, &code));
    }
    Ok(Some(attempt))
}

/// Sends the mail while the answer goes out: how long it takes must not tell whether there was one.
fn post(visit: &Visit, here: &Here, mail: Mail) {
    let (store, id) = (visit.store().clone(), here.connection.id.clone());
    let request = visit.request.id.clone();
    visit.broker.mailer().post(mail, async move |error| {
        tracing::error!(%request, connection = %id, %error, "a one-time code could not be sent");
        let noted = async {
            let mut tx = store.begin().await?;
            store::connection::note_health(&mut tx, &id, Some(&error.to_string())).await?;
            tx.commit_housekeeping().await
        };
        if let Err(error) = noted.await {
            tracing::error!(%request, %error, "nor could that be noted");
        }
    });
}

fn mail(visit: &Visit, here: &Here, address: &str, code: &str) -> Mail {
    let organisation = &here.place.org.spec.name;
    let place = match &here.place.account {
        Some(view) => format!("{organisation} ({})", view.account.spec.name),
        None => organisation.clone(),
    };
    let (first, second) = code.split_at(LENGTH / 2);
    let device = me::device(visit.request.user_agent.as_deref());
    let from = visit.request.ip.as_deref().unwrap_or("an unknown address");
    let minutes = LIFE / 60;
    let text = format!(
        "Somebody wants to sign in to {place} with this address.\n\n\
         The code is\n\n    {first}-{second}\n\n\
         It is good for {minutes} minutes, once, and only in the browser that asked for it:\n\
         {device}, from {from}.\n\n\
         If that was not you, you need not do anything: without the code nobody gets in.\n\
         Give it to nobody. Nobody at {organisation} will ever ask you for it.\n"
    );
    Mail {
        to: address.to_owned(),
        subject: format!("Your sign-in code for {organisation}"),
        text,
        html: None,
    }
}

/// `GET /login/email/{connection}/code`.
pub(crate) async fn enter(
    visit: Visit,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let here = Here::of(&visit, &id, asked).await?;
    let mut all = all_waiting(&visit).await?;
    all.retain(|waiting| waiting.connection == here.connection.id);
    match all.pop() {
        Some(waiting) => here.code_page(&visit, &waiting, None).await,
        None => Ok(redirect(&here.link(""))),
    }
}

/// `POST /login/email/{connection}/code`.
pub(crate) async fn redeem(
    visit: Visit,
    Path(id): Path<String>,
    form: Submitted,
) -> Result<Response, Failure> {
    let Ok(Form(typed)) = form else {
        return Err(Failure::Csrf);
    };
    let id = id.parse::<ConnectionId>().map_err(|_| Failure::NotFound)?;
    let csrf = typed.csrf.as_deref().unwrap_or_default();
    let Some(waiting) = waiting(&visit, &id, csrf).await? else {
        return Ok(redirect(&format!("/login/email/{id}")));
    };
    let asked = Asked {
        return_to: waiting.return_to.clone(),
        account: waiting.account.as_ref().map(ToString::to_string),
        confirm: waiting.confirms.as_ref().map(|_| "1".to_owned()),
        ..Asked::default()
    };
    let here = Here::of(&visit, id.as_ref(), asked).await?;
    let code = normal(&typed.code.unwrap_or_default());
    let mut tx = visit.store().begin().await?;
    let guess = store::email_code::redeem(&mut tx, &waiting.attempt, &code).await?;
    if guess != Guess::Right {
        tx.commit_housekeeping().await?;
        let reason = if guess == Guess::Over {
            "code_over"
        } else {
            "wrong_code"
        };
        refuse(&visit, here.at(), reason).await;
        if guess == Guess::Over {
            forget(&visit, &waiting).await?;
            let error = "This code is no longer good. Ask for another one.";
            return here
                .email_page(&visit, &waiting.address, Some((StatusCode::UNAUTHORIZED, error)))
                .await;
        }
        let error = "This is not the code. Compare it with the mail, letter by letter.";
        return here
            .code_page(&visit, &waiting, Some((StatusCode::UNAUTHORIZED, error)))
            .await;
    }
    tx.commit_housekeeping().await?;
    forget(&visit, &waiting).await?;
    // The list may have changed since the mail was sent.
    if !is_allowed(&here.connection, &waiting.address) {
        refuse(&visit, here.at(), "email_domain").await;
        let text =
            "People with an address of this domain are not let in here any more. Ask your administrator.";
        return Err(Failure::told(StatusCode::FORBIDDEN, "Not for this address", text));
    }
    sign_in(&visit, &here, waiting).await
}

async fn sign_in(visit: &Visit, here: &Here, waiting: Waiting) -> Result<Response, Failure> {
    // One factor; RFC 8176 has no word for it, so rules that ask how somebody signed in learn nothing.
    let authentication = Authentication {
        auth_time: Some(visit.store().clock().now()),
        ..Authentication::default()
    };
    let proof = (
        identity(visit, &here.connection, &waiting.address),
        authentication,
    );
    if let Some(session) = &waiting.confirms {
        return confirm::by_provider(visit, session, proof, None, waiting.return_to.as_deref()).await;
    }
    let person = admit(visit, here.at(), proof, Behind::default()).await?;
    let lanes = lanes(visit, &here.connection, &waiting.address, None).await?;
    let mut tx = visit.store().begin().await?;
    lanes.open(&mut tx, visit).await?;
    tx.commit_housekeeping().await?;
    // Checked when it was remembered; checked again, because it comes from storage.
    match waiting.return_to.as_deref().and_then(safe) {
        Some(path) => Ok(redirect(path)),
        None => Ok(redirect(home(visit, &person.user.id).await?)),
    }
}

/// Where attempts with an address are counted.
async fn lanes(
    visit: &Visit,
    connection: &Connection,
    address: &str,
    confirms: Option<&SessionId>,
) -> store::Result<Lanes> {
    let subject = store::email_code::subject(visit.store().vault(), &connection.id, address);
    Lanes::of(visit, &subject, confirms).await
}

/// Whoever reads the mail of an address is that address.
fn identity(visit: &Visit, connection: &Connection, address: &str) -> Identity {
    let mut claims = Map::new();
    claims.insert("email".to_owned(), json!(address));
    claims.insert("email_verified".to_owned(), json!(true));
    Identity {
        connection: connection.id.clone(),
        issuer: format!("{}/connections/{}", visit.broker.control_url(), connection.id),
        subject: address.to_owned(),
        email: Some(address.to_owned()),
        email_verified: true,
        name: None,
        groups: Vec::new(),
        claims,
    }
}

/// A form that came from our page.
async fn submitted(visit: &Visit, form: Submitted) -> Result<Typed, Failure> {
    let Ok(Form(typed)) = form else {
        return Err(Failure::Csrf);
    };
    let csrf = typed.csrf.as_deref().unwrap_or_default();
    if !visit.is_our_form(PURPOSE, csrf) {
        return Err(Failure::Csrf);
    }
    Ok(typed)
}

/// All that this browser waits for, the oldest first.
async fn all_waiting(visit: &Visit) -> Result<Vec<Waiting>, Failure> {
    let now = visit.store().clock().now();
    match visit.session.get::<Vec<Waiting>>(WAITING).await {
        Ok(all) => {
            let mut all = all.unwrap_or_default();
            all.retain(|waiting| waiting.until > now);
            Ok(all)
        }
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

async fn keep_waiting(visit: &Visit, all: &[Waiting]) -> Result<(), Failure> {
    match visit.session.insert(WAITING, all).await {
        Ok(()) => Ok(()),
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

/// What the tab with this token waits for at a connection; `None` when the browser waits for nothing there.
async fn waiting(visit: &Visit, connection: &ConnectionId, csrf: &str) -> Result<Option<Waiting>, Failure> {
    let mut all = all_waiting(visit).await?;
    all.retain(|waiting| waiting.connection == *connection);
    let none = all.is_empty();
    for waiting in all {
        if visit.form_token_ok(&waiting.purpose(), csrf) {
            return Ok(Some(waiting));
        }
    }
    if none { Ok(None) } else { Err(Failure::Csrf) }
}

async fn forget(visit: &Visit, done: &Waiting) -> Result<(), Failure> {
    let mut all = all_waiting(visit).await?;
    all.retain(|waiting| waiting.attempt != done.attempt);
    keep_waiting(visit, &all).await
}

/// The address as it is compared, if it can be one.
fn address(typed: &str) -> Option<String> {
    Address::parse(typed.trim()).ok().map(|address| address.key())
}

/// Whether the connection lets in people with an address; none when its list is empty.
fn is_allowed(connection: &Connection, address: &str) -> bool {
    let allowed = &connection.spec.allowed_domains;
    Address::parse(address).is_ok_and(|address| claims::is_allowed(allowed, &address))
}

/// A code, every one as likely as every other.
fn fresh_code() -> store::Result<String> {
    let mut code = String::with_capacity(LENGTH);
    while code.len() < LENGTH {
        let random = store::sha256(store::random_secret("")?);
        // Base64url has 64 letters: the first 60 of them fall evenly on 20.
        let even = random.bytes().filter_map(|byte| match byte {
            b'A'..=b'Z' => Some(byte - b'A'),
            b'a'..=b'z' => Some(byte - b'a' + 26),
            b'0'..=b'7' => Some(byte - b'0' + 52),
            _ => None,
        });
        let letters = even.map(|n| char::from(LETTERS[usize::from(n) % LETTERS.len()]));
        code.extend(letters.take(LENGTH - code.len()));
    }
    Ok(code)
}

/// A code as somebody typed it, without what the eye does not need.
fn normal(typed: &str) -> String {
    let letters = typed.chars().filter(char::is_ascii_alphanumeric);
    letters.take(2 * LENGTH).collect::<String>().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_compared_in_lower_case_and_no_other_letter_turns_into_one_of_it() {
        assert_eq!(
            address(" Alice@Acme.Example ").as_deref(),
            Some("alice@acme.example")
        );
        // KELVIN SIGN and LATIN SMALL LETTER LONG S become `k` and `s` elsewhere.
        for bad in [
            "\u{212a}im@acme.example",
            "alice@acme.example\u{17f}",
            "alice",
            "@acme.example",
            "a@b@acme.example",
            "alice@acme.example, bob@evil.example",
            "alice@acme.example\r\nBcc: bob@evil.example",
            "\"a b\"@acme.example",
            "Alice <alice@acme.example>",
            "",
        ] {
            assert_eq!(address(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn codes_are_eight_plain_letters_and_differ() {
        let codes: std::collections::HashSet<_> = (0..50).map(|_| fresh_code().unwrap()).collect();
        assert_eq!(codes.len(), 50);
        for code in codes {
            assert!(
                code.len() == LENGTH && code.bytes().all(|b| LETTERS.contains(&b)),
                "{code}"
            );
        }
        assert_eq!(normal(" bcdf-ghjk\n"), "BCDFGHJK");
    }
}

//! Adding, naming and removing second factors: at `/me/security` for people who are signed in with a local
//! password, at `/login/enrol` for those who must add one before they get any further.

use super::{Half, half, has_any, passkey, totp};
use crate::login::display_name;
use crate::page::{Failure, Forms, html, redirect, with_script};
use crate::{SignedIn, Visit, audit, claims, confirm, local, me, session};
use askama::Template;
use axum::Form;
use axum::extract::Path;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::user::Person;
use store::{Paging, Tx, factor};
use wire::{AuditChange, AuditEvent, ConnectionKind, Factor, FactorId, FactorKind, OrgId, Timestamp, UserId};
use zeroize::Zeroizing;

/// Where people manage what they have.
const MINE: &str = "/me/security";
/// Where people add what they must have.
const ENROL: &str = "/login/enrol";
/// The purpose of the CSRF tokens here.
const PURPOSE: &str = "security";
/// The key of a TOTP that is not confirmed yet, in a session.
const NEW_KEY: &str = "totp";
/// How long it may take to confirm it, in seconds.
const NEW_KEY_LIFE: i64 = 900;
/// Recovery codes of a person.
const RECOVERY_CODES: usize = 10;
/// Longest name of a factor, in characters.
const MAX_NAME: usize = 60;

/// Who adds a factor.
enum Adder {
    SignedIn(Box<SignedIn>),
    Half(Half, Box<Person>),
}

impl Adder {
    const fn person(&self) -> &Person {
        match self {
            Self::SignedIn(who) => &who.person,
            Self::Half(_, person) => person,
        }
    }

    const fn user(&self) -> &UserId {
        &self.person().user.id
    }

    const fn org(&self) -> &OrgId {
        &self.person().org
    }

    const fn base(&self) -> &'static str {
        match self {
            Self::SignedIn(_) => MINE,
            Self::Half(..) => ENROL,
        }
    }

    async fn csrf(&self, visit: &Visit) -> Result<String, Failure> {
        match self {
            Self::SignedIn(who) => Ok(who.csrf(visit.store(), PURPOSE)),
            Self::Half(..) => Ok(visit.form_token(PURPOSE)),
        }
    }

    async fn csrf_ok(&self, visit: &Visit, token: &str) -> Result<bool, Failure> {
        match self {
            Self::SignedIn(who) => Ok(who.csrf_ok(visit.store(), PURPOSE, token)),
            Self::Half(..) => Ok(visit.form_token_ok(PURPOSE, token)),
        }
    }

    fn event(&self, visit: &Visit, action: &str, factor: &Factor) -> AuditEvent {
        let actor = match self {
            Self::SignedIn(who) => audit::by(who),
            Self::Half(_, person) => {
                let mut actor = wire::AuditActor::of(wire::ActorKind::User);
                actor.user = Some(person.user.id.clone());
                actor.email.clone_from(&person.user.email);
                actor
            }
        };
        AuditEvent {
            target: Some(store::audit::target("factor", &factor.id, Some(&factor.name))),
            ..audit::event(visit, self.org(), action, actor)
        }
    }
}

/// Who asks, or where to send them: to sign in, or to confirm that it is them.
async fn mine(visit: &Visit) -> Result<Result<SignedIn, Response>, Failure> {
    let Some(who) = visit.signed_in().await? else {
        return Ok(Err(redirect("/login?return_to=%2Fme%2Fsecurity")));
    };
    if is_local(visit, &who.person).await? && !who.is_recent(visit.store()) {
        return Ok(Err(redirect(&confirm::link(MINE))));
    }
    Ok(Ok(who))
}

async fn is_local(visit: &Visit, person: &Person) -> Result<bool, Failure> {
    let id = &person.user.connection;
    let connection = store::connection::get(visit.store(), &person.org, id).await?;
    Ok(connection.spec.kind == ConnectionKind::Password)
}

/// As [`mine`], of local people only.
async fn mine_local(visit: &Visit) -> Result<Result<Adder, Response>, Failure> {
    match mine(visit).await? {
        Ok(who) if is_local(visit, &who.person).await? => Ok(Ok(Adder::SignedIn(Box::new(who)))),
        Ok(_) => Err(Failure::NotFound),
        Err(elsewhere) => Ok(Err(elsewhere)),
    }
}

/// Who must add a factor in this browser.
async fn enrolling(visit: &Visit) -> Result<Result<Adder, Response>, Failure> {
    let Some(half) = half(visit).await?.filter(|half| half.enrols) else {
        return Ok(Err(redirect("/login")));
    };
    let person = store::user::get(visit.store(), &half.org, &half.user).await?;
    if person.user.disabled || has_any(visit.store(), &half.user).await? {
        // Added in another browser meanwhile: that one is to be shown.
        return Ok(Err(redirect("/login")));
    }
    Ok(Ok(Adder::Half(half, Box::new(person))))
}

struct Shown {
    id: String,
    name: String,
    kind: &'static str,
    since: String,
    last_used: String,
}

#[derive(Template)]
#[template(path = "security.html")]
struct SecurityPage<'a> {
    name: String,
    email: &'a str,
    is_member: bool,
    /// The connection of people who did not come with a password.
    provider: Option<&'a str>,
    csrf: String,
    factors: Vec<Shown>,
    recovery_left: i64,
    passkeys: bool,
    required: bool,
}

/// `GET /me/security`.
pub(crate) async fn show(visit: Visit) -> Result<Response, Failure> {
    let who = match mine(&visit).await? {
        Ok(who) => who,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let store = visit.store();
    let user = &who.person.user;
    let connection = store::connection::get(store, &who.person.org, &user.connection).await?;
    let org = store::org::get(store, &who.person.org).await?;
    let factors = factor::list(store, &user.id, &Paging::default()).await?;
    let is_local = connection.spec.kind == ConnectionKind::Password;
    let shown = |factor: Factor| Shown {
        id: factor.id.to_string(),
        name: claims::clean(&factor.name, MAX_NAME),
        kind: match factor.kind {
            FactorKind::Totp => "Authenticator app",
            FactorKind::Passkey => "Passkey",
        },
        since: me::when(factor.created_at),
        last_used: factor.last_used_at.map_or_else(|| "never".to_owned(), me::when),
    };
    let page = SecurityPage {
        name: display_name(&who),
        email: user.email.as_deref().unwrap_or_default(),
        is_member: !store::org::roles_of(store, &user.id).await?.is_empty(),
        provider: (!is_local).then_some(connection.spec.name.as_str()),
        csrf: who.csrf(store, PURPOSE),
        recovery_left: factor::recovery_codes_left(store, &user.id).await?,
        factors: factors.into_iter().map(shown).collect(),
        passkeys: visit.broker.passkeys().are_possible(),
        required: org.spec.require_second_factor,
    };
    Ok(html(StatusCode::OK, &page, Forms::Here))
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct EnrolPage<'a> {
    organisation: &'a str,
    passkeys: bool,
}

/// `GET /login/enrol`.
pub(crate) async fn must(visit: Visit) -> Result<Response, Failure> {
    let adder = match enrolling(&visit).await? {
        Ok(adder) => adder,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let org = store::org::get(visit.store(), adder.org()).await?;
    let page = EnrolPage {
        organisation: &org.spec.name,
        passkeys: visit.broker.passkeys().are_possible(),
    };
    Ok(html(StatusCode::OK, &page, Forms::Here))
}

/// What the forms of these pages send.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Typed {
    csrf: Option<String>,
    name: Option<String>,
    code: Option<String>,
    credential: Option<String>,
}

type Submitted = Result<Form<Typed>, FormRejection>;

/// A form, with its token checked.
async fn checked(visit: &Visit, adder: &Adder, form: Submitted) -> Result<Typed, Failure> {
    let Form(typed) = form.unwrap_or_default();
    let csrf = typed.csrf.as_deref().unwrap_or_default();
    if adder.csrf_ok(visit, csrf).await? {
        Ok(typed)
    } else {
        Err(Failure::Csrf)
    }
}

/// What a factor is called.
fn name(typed: &Typed, otherwise: &str) -> String {
    let name = claims::clean(typed.name.as_deref().unwrap_or_default(), MAX_NAME);
    if name.is_empty() {
        otherwise.to_owned()
    } else {
        name
    }
}

/// A key that was shown and not confirmed yet, sealed: sessions are stored.
#[derive(Serialize, Deserialize)]
struct NewKey {
    sealed: String,
    at: Timestamp,
}

/// The key that this browser is setting up.
async fn new_key(visit: &Visit, user: &UserId) -> Result<Option<Zeroizing<Vec<u8>>>, Failure> {
    let key = match visit.session.get::<NewKey>(NEW_KEY).await {
        Ok(key) => key,
        Err(error) => return Err(session::failure(visit.store(), error).await.into()),
    };
    let now = visit.store().clock().now();
    let key = key.filter(|key| key.at.plus_seconds(NEW_KEY_LIFE) > now);
    let key = key.map(|key| visit.store().vault().open(user.as_ref(), &key.sealed));
    // Somebody else's, from before they signed in here.
    Ok(key.and_then(Result::ok))
}

#[derive(Template)]
#[template(path = "totp.html")]
struct TotpPage<'a> {
    base: &'a str,
    csrf: &'a str,
    qr: &'a str,
    key: &'a str,
    error: Option<&'a str>,
}

async fn totp_page(visit: &Visit, adder: &Adder, error: Option<&str>) -> Result<Response, Failure> {
    let store = visit.store();
    let key = match new_key(visit, adder.user()).await? {
        Some(key) => key,
        None => {
            let key = totp::fresh_key()?;
            let new = NewKey {
                sealed: store.vault().seal(adder.user().as_ref(), &key)?,
                at: store.clock().now(),
            };
            if let Err(error) = visit.session.insert(NEW_KEY, new).await {
                return Err(session::failure(store, error).await.into());
            }
            key
        }
    };
    let user = &adder.person().user;
    let org = store::org::get(store, adder.org()).await?;
    let account = user.email.as_deref().unwrap_or(&user.subject);
    let sheet = totp::sheet(&key, account, &org.spec.name)?;
    let page = TotpPage {
        base: adder.base(),
        csrf: &adder.csrf(visit).await?,
        qr: &sheet.qr,
        key: &sheet.key,
        error,
    };
    let status = if error.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    Ok(html(status, &page, Forms::Here))
}

/// `GET /me/security/totp`.
pub(crate) async fn my_totp(visit: Visit) -> Result<Response, Failure> {
    match mine_local(&visit).await? {
        Ok(adder) => totp_page(&visit, &adder, None).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

/// `GET /login/enrol/totp`.
pub(crate) async fn must_totp(visit: Visit) -> Result<Response, Failure> {
    match enrolling(&visit).await? {
        Ok(adder) => totp_page(&visit, &adder, None).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

/// `POST /me/security/totp`.
pub(crate) async fn add_my_totp(visit: Visit, form: Submitted) -> Result<Response, Failure> {
    match mine_local(&visit).await? {
        Ok(adder) => add_totp(&visit, &adder, form).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

/// `POST /login/enrol/totp`.
pub(crate) async fn add_must_totp(visit: Visit, form: Submitted) -> Result<Response, Failure> {
    match enrolling(&visit).await? {
        Ok(adder) => add_totp(&visit, &adder, form).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

async fn add_totp(visit: &Visit, adder: &Adder, form: Submitted) -> Result<Response, Failure> {
    let typed = checked(visit, adder, form).await?;
    let again =
        "This code does not belong to the key. Wait for the next one, and check the clock of your device.";
    let Some(key) = new_key(visit, adder.user()).await? else {
        return totp_page(
            visit,
            adder,
            Some("It took too long. Here is a new key; remove the old one from your app."),
        )
        .await;
    };
    let code: String = typed
        .code
        .iter()
        .flat_map(|code| code.chars())
        .filter(|c| !c.is_whitespace())
        .collect();
    let now = visit.store().clock().now();
    let Some(step) = totp::step(&key, &code, now)? else {
        return totp_page(visit, adder, Some(again)).await;
    };
    if let Err(error) = visit.session.remove_value(NEW_KEY).await {
        return Err(session::failure(visit.store(), error).await.into());
    }
    let name = name(&typed, "Authenticator app");
    let new = factor::New {
        kind: FactorKind::Totp,
        name: &name,
        secret: &key,
        credential: None,
        // The code that confirmed it is spent.
        counter: step,
    };
    add(visit, adder, new, &["pwd", "otp", "mfa"]).await
}

#[derive(Template)]
#[template(path = "passkey.html")]
struct PasskeyPage<'a> {
    base: &'a str,
    csrf: &'a str,
    asked: Option<&'a str>,
    error: Option<&'a str>,
}

async fn passkey_page(visit: &Visit, adder: &Adder, error: Option<&str>) -> Result<Response, Failure> {
    let asked = passkey::invite(visit, &adder.person().user).await?;
    let page = PasskeyPage {
        base: adder.base(),
        csrf: &adder.csrf(visit).await?,
        asked: asked.as_deref(),
        error,
    };
    let status = if error.is_some() {
        StatusCode::BAD_REQUEST
    } else {
        StatusCode::OK
    };
    Ok(with_script(html(status, &page, Forms::Here)))
}

/// `GET /me/security/passkey`.
pub(crate) async fn my_passkey(visit: Visit) -> Result<Response, Failure> {
    match mine_local(&visit).await? {
        Ok(adder) => passkey_page(&visit, &adder, None).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

/// `GET /login/enrol/passkey`.
pub(crate) async fn must_passkey(visit: Visit) -> Result<Response, Failure> {
    match enrolling(&visit).await? {
        Ok(adder) => passkey_page(&visit, &adder, None).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

/// `POST /me/security/passkey`.
pub(crate) async fn add_my_passkey(visit: Visit, form: Submitted) -> Result<Response, Failure> {
    match mine_local(&visit).await? {
        Ok(adder) => add_passkey(&visit, &adder, form).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

/// `POST /login/enrol/passkey`.
pub(crate) async fn add_must_passkey(visit: Visit, form: Submitted) -> Result<Response, Failure> {
    match enrolling(&visit).await? {
        Ok(adder) => add_passkey(&visit, &adder, form).await,
        Err(elsewhere) => Ok(elsewhere),
    }
}

async fn add_passkey(visit: &Visit, adder: &Adder, form: Submitted) -> Result<Response, Failure> {
    let typed = checked(visit, adder, form).await?;
    let answer = typed.credential.as_deref().unwrap_or_default();
    let Some(made) = passkey::made(visit, adder.user(), answer).await? else {
        return passkey_page(visit, adder, Some("The passkey could not be checked. Try again.")).await;
    };
    let name = name(&typed, "Passkey");
    let new = factor::New {
        kind: FactorKind::Passkey,
        name: &name,
        secret: made.secret.as_bytes(),
        credential: Some(made.credential),
        counter: 0,
    };
    add(visit, adder, new, made.amr).await
}

#[derive(Template)]
#[template(path = "recovery.html")]
struct RecoveryPage<'a> {
    codes: &'a [String],
    next: &'a str,
}

/// Fresh recovery codes, as people type them.
async fn fresh_codes(tx: &mut Tx, user: &UserId) -> Result<Vec<String>, Failure> {
    let mut codes = Vec::with_capacity(RECOVERY_CODES);
    for _ in 0..RECOVERY_CODES {
        let mut bytes = [0; 10];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| store::Error::internal("no randomness"))?;
        // 80 bits in 16 letters and digits, none of which looks like another.
        let letters = b"abcdefghjkmnpqrstuvwxyz023456789";
        let bits = bytes
            .iter()
            .fold(0_u128, |all, byte| all << 8 | u128::from(*byte));
        let code = (0..16).map(|i| char::from(letters[(bits >> (5 * i) & 31) as usize]));
        codes.push(code.collect::<String>());
    }
    factor::set_recovery_codes(tx, user, &codes).await?;
    let grouped = |code: &String| {
        let parts: Vec<_> = code.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
        parts.join("-")
    };
    Ok(codes.iter().map(grouped).collect())
}

/// Adds what was shown to work. The first one comes with recovery codes; for those who had to add it, it
/// completes the sign-in.
async fn add(visit: &Visit, adder: &Adder, new: factor::New<'_>, amr: &[&str]) -> Result<Response, Failure> {
    let first = !has_any(visit.store(), adder.user()).await?;
    let mut tx = visit.store().begin().await?;
    let factor = factor::add(&mut tx, adder.org(), adder.user(), new).await?;
    let codes = if first {
        fresh_codes(&mut tx, adder.user()).await?
    } else {
        Vec::new()
    };
    let mut event = adder.event(visit, "factor.add", &factor);
    event.change = Some(AuditChange {
        before: serde_json::Value::Null,
        after: serde_json::json!({ "kind": factor.kind, "name": factor.name }),
    });
    let next = match adder {
        Adder::Half(half, _) => local::complete(visit, tx, half, amr, vec![event]).await?,
        Adder::SignedIn(who) => {
            tx.commit(event).await?;
            // How its person signed in is no other than before: whoever adds a factor has not shown one that was known.
            let proof = (&who.person, who.authentication.clone());
            session::renew(&visit.session, visit.store(), proof).await?;
            MINE.to_owned()
        }
    };
    if first {
        let page = RecoveryPage {
            codes: &codes,
            next: &next,
        };
        return Ok(html(StatusCode::OK, &page, Forms::Here));
    }
    Ok(redirect(&next))
}

/// `POST /me/security/recovery`: replaces the recovery codes.
pub(crate) async fn renew_recovery(visit: Visit, form: Submitted) -> Result<Response, Failure> {
    let adder = match mine_local(&visit).await? {
        Ok(adder) => adder,
        Err(elsewhere) => return Ok(elsewhere),
    };
    checked(&visit, &adder, form).await?;
    let factors = factor::list(visit.store(), adder.user(), &Paging::default()).await?;
    let factor = factors.first().ok_or(Failure::NotFound)?;
    let mut tx = visit.store().begin().await?;
    let codes = fresh_codes(&mut tx, adder.user()).await?;
    let user = &adder.person().user;
    let event = AuditEvent {
        target: Some(store::audit::target("user", &user.id, user.email.as_deref())),
        ..adder.event(&visit, "factor.renew_recovery", factor)
    };
    tx.commit(event).await?;
    let page = RecoveryPage {
        codes: &codes,
        next: MINE,
    };
    Ok(html(StatusCode::OK, &page, Forms::Here))
}

/// A factor of the person who sent the form.
async fn named(visit: &Visit, adder: &Adder, id: &str) -> Result<Factor, Failure> {
    let id = id.parse::<FactorId>().map_err(|_| Failure::NotFound)?;
    Ok(factor::get(visit.store(), adder.user(), &id).await?)
}

/// `POST /me/security/factors/{factor}/rename`.
pub(crate) async fn rename(
    visit: Visit,
    Path(id): Path<String>,
    form: Submitted,
) -> Result<Response, Failure> {
    let adder = match mine_local(&visit).await? {
        Ok(adder) => adder,
        Err(elsewhere) => return Ok(elsewhere),
    };
    let typed = checked(&visit, &adder, form).await?;
    let before = named(&visit, &adder, &id).await?;
    let name = name(&typed, &before.name);
    let mut tx = visit.store().begin().await?;
    factor::rename(&mut tx, adder.user(), &before.id, &name).await?;
    let mut event = adder.event(&visit, "factor.update", &before);
    event.change = Some(AuditChange {
        before: serde_json::json!({ "name": before.name }),
        after: serde_json::json!({ "name": name }),
    });
    tx.commit(event).await?;
    Ok(redirect(MINE))
}

/// `POST /me/security/factors/{factor}/remove`.
pub(crate) async fn remove(
    visit: Visit,
    Path(id): Path<String>,
    form: Submitted,
) -> Result<Response, Failure> {
    let adder = match mine_local(&visit).await? {
        Ok(adder) => adder,
        Err(elsewhere) => return Ok(elsewhere),
    };
    checked(&visit, &adder, form).await?;
    let factor = named(&visit, &adder, &id).await?;
    let org = store::org::get(visit.store(), adder.org()).await?;
    let mut tx = visit.store().begin().await?;
    factor::remove(&mut tx, adder.user(), &factor.id).await?;
    let left = factor::list(&mut tx, adder.user(), &Paging::default()).await?;
    if left.is_empty() && org.spec.require_second_factor {
        let text =
            "Your organisation asks for a second factor, and this is your only one. Add another one first.";
        return Err(Failure::told(StatusCode::CONFLICT, "This one has to stay", text));
    }
    let mut event = adder.event(&visit, "factor.remove", &factor);
    event.change = Some(AuditChange {
        before: serde_json::json!({ "kind": factor.kind, "name": factor.name }),
        after: serde_json::Value::Null,
    });
    tx.commit(event).await?;
    Ok(redirect(MINE))
}

//! Passkeys (WebAuthn level 3). The relying party is the control plane's host; browsers know passkeys at
//! names only, so where it is reached by an IP address there are none.

use crate::page::Failure;
use crate::{SentFrom, Visit, session};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use store::factor::Known;
use store::{Error, Tx, factor};
use url::{Host, Url};
use webauthn_rs::prelude::{
    AuthenticationResult, DiscoverableAuthentication, Passkey, PasskeyAuthentication, PasskeyRegistration,
    PublicKeyCredential, RegisterPublicKeyCredential, Uuid, WebauthnError,
};
use webauthn_rs::{Webauthn, WebauthnBuilder};
use wire::{FactorKind, Id as _, Timestamp, User, UserId};

/// The key of [`Asked`] in a session.
const ASKED: &str = "passkey";
/// How long a challenge is good, in seconds.
const LIFE: i64 = 300;

/// Asks for passkeys and checks them, where the browser has any.
pub(crate) struct Passkeys(Option<Webauthn>);

impl Passkeys {
    /// Passkeys at the control plane's address.
    pub(crate) fn new(control_url: &str) -> Self {
        let url = Url::parse(control_url).ok();
        Self(url.and_then(|url| {
            let Some(Host::Domain(host)) = url.host() else {
                return None;
            };
            let builder = WebauthnBuilder::new(host, &url).ok()?;
            builder.rp_name("Chatelaine").build().ok()
        }))
    }

    /// Whether there can be any.
    pub(crate) const fn are_possible(&self) -> bool {
        self.0.is_some()
    }
}

/// What this browser was asked, once.
#[derive(Serialize, Deserialize)]
struct Asked<T> {
    /// Who was asked.
    user: UserId,
    at: Timestamp,
    state: T,
}

async fn remember<T>(visit: &Visit, user: &UserId, state: T) -> Result<(), Failure>
where
    T: Serialize + Send + Sync,
{
    let asked = Asked {
        user: user.clone(),
        at: visit.store().clock().now(),
        state,
    };
    match visit.session.insert(ASKED, asked).await {
        Ok(()) => Ok(()),
        Err(error) => Err(session::failure(visit.store(), error).await.into()),
    }
}

/// Takes what was asked out of the session, for good.
async fn take<T>(visit: &Visit, user: &UserId) -> Result<Option<T>, Failure>
where
    T: DeserializeOwned + Send,
{
    let taken = async {
        let asked = visit.session.remove_value(ASKED).await?;
        visit.session.save().await?;
        Ok(asked)
    };
    let taken = match taken.await {
        Ok(taken) => taken,
        Err(error) => return Err(session::failure(visit.store(), error).await.into()),
    };
    let now = visit.store().clock().now();
    // A challenge of the other kind is none.
    let asked = taken.and_then(|value| serde_json::from_value::<Asked<T>>(value).ok());
    let asked = asked.filter(|asked| asked.user == *user && asked.at.plus_seconds(LIFE) > now);
    Ok(asked.map(|asked| asked.state))
}

fn wrong(error: WebauthnError) -> Failure {
    Failure::Store(Error::internal(error))
}

fn to_json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|e| Failure::Store(Error::internal(e)))
}

fn read(known: &Known) -> Result<Passkey, Failure> {
    serde_json::from_slice(&known.secret).map_err(|e| Failure::Store(Error::internal(e)))
}

/// The passkeys of a person.
async fn of(tx: &mut Tx, user: &UserId) -> Result<Vec<(Known, Passkey)>, Failure> {
    let mut known = factor::known(tx, user).await?;
    known.retain(|known| known.factor.kind == FactorKind::Passkey);
    known
        .into_iter()
        .map(|known| read(&known).map(|passkey| (known, passkey)))
        .collect()
}

/// What to ask of the browser so that the person shows a passkey; `None` where there can be none.
pub(super) async fn challenge(visit: &Visit, user: &UserId) -> Result<Option<String>, Failure> {
    let Some(webauthn) = &visit.broker.passkeys().0 else {
        return Ok(None);
    };
    let mut tx = visit.store().begin().await?;
    let passkeys = of(&mut tx, user).await?;
    drop(tx);
    let passkeys: Vec<_> = passkeys.into_iter().map(|(_, passkey)| passkey).collect();
    let (asked, state) = webauthn.start_passkey_authentication(&passkeys).map_err(wrong)?;
    remember::<PasskeyAuthentication>(visit, user, state).await?;
    to_json(&asked).map(Some)
}

/// Checks what the browser showed against what it was asked. Before any transaction: it writes the session.
pub(super) async fn check(
    visit: &Visit,
    user: &UserId,
    shown: &str,
) -> Result<Result<AuthenticationResult, &'static str>, Failure> {
    let Some(webauthn) = &visit.broker.passkeys().0 else {
        return Ok(Err("wrong_passkey"));
    };
    let Some(state) = take::<PasskeyAuthentication>(visit, user).await? else {
        return Ok(Err("challenge_unknown"));
    };
    let Ok(shown) = serde_json::from_str::<PublicKeyCredential>(shown) else {
        return Ok(Err("wrong_passkey"));
    };
    if is_framed(&shown) {
        return Ok(Err("wrong_passkey"));
    }
    let result = webauthn.finish_passkey_authentication(&shown, &state);
    Ok(result.map_err(|error| refused(visit, error)))
}

/// Whether the passkey was shown in a frame of somebody else's page (Web Authentication level 3, section 5.8.1): none of our
/// pages is ever in one.
fn is_framed(shown: &PublicKeyCredential) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Data {
        #[serde(default)]
        cross_origin: bool,
        top_origin: Option<serde::de::IgnoredAny>,
    }
    let data = serde_json::from_slice::<Data>(shown.response.client_data_json.as_ref());
    data.map_or(true, |data| data.cross_origin || data.top_origin.is_some())
}

fn refused(visit: &Visit, error: WebauthnError) -> &'static str {
    if matches!(error, WebauthnError::CredentialPossibleCompromise) {
        return "passkey_counter";
    }
    tracing::debug!(request = %visit.request.id, %error, "a passkey was refused");
    "wrong_passkey"
}

/// What to ask of the browser so that a passkey says who its holder is, and the same sealed for this browser: it comes back
/// with the answer, so that strangers who open the page leave nothing behind. `None` where there can be no passkeys.
pub(super) fn open_challenge(visit: &Visit) -> Result<Option<(String, String)>, Failure> {
    let Some(webauthn) = &visit.broker.passkeys().0 else {
        return Ok(None);
    };
    let (asked, state) = webauthn.start_discoverable_authentication().map_err(wrong)?;
    let open = Open {
        holder: visit.forms.holder(),
        at: visit.store().clock().now(),
        state,
    };
    let sealed = visit.store().vault().seal(ASKED, to_json(&open)?.as_bytes())?;
    Ok(Some((to_json(&asked)?, sealed)))
}

/// What a browser was asked of which nobody knows who holds it.
#[derive(Serialize, Deserialize)]
struct Open {
    /// Which browser.
    holder: String,
    at: Timestamp,
    state: DiscoverableAuthentication,
}

/// The challenge that was sealed for this browser, if it is not too old. Of tabs that are opened at once only one keeps what
/// it was told from others by: then the browser's word counts that the form is ours.
fn open(visit: &Visit, sealed: &str) -> Option<DiscoverableAuthentication> {
    let opened = visit.store().vault().open(ASKED, sealed).ok()?;
    let open: Open = serde_json::from_slice(&opened).ok()?;
    let is_ours = open.holder == visit.forms.holder() || visit.sent_from == Some(SentFrom::Here);
    let is_good = is_ours && open.at.plus_seconds(LIFE) > visit.store().clock().now();
    is_good.then_some(open.state)
}

/// Uses up a challenge of [`open_challenge`] that was answered: of any number of answers one counts.
pub(super) async fn spend_challenge(tx: &mut Tx, sealed: &str) -> Result<bool, Failure> {
    let until = tx.now().plus_seconds(LIFE);
    Ok(store::form::spend(tx, &store::sha256(sealed), until).await?)
}

/// As [`check`], where the passkey says whose it is.
pub(super) async fn check_open(
    visit: &Visit,
    (sealed, shown): (&str, &str),
) -> Result<Result<(UserId, AuthenticationResult), &'static str>, Failure> {
    let Some(webauthn) = &visit.broker.passkeys().0 else {
        return Ok(Err("wrong_passkey"));
    };
    let Some(state) = open(visit, sealed) else {
        return Ok(Err("challenge_unknown"));
    };
    let Ok(shown) = serde_json::from_str::<PublicKeyCredential>(shown) else {
        return Ok(Err("wrong_passkey"));
    };
    if is_framed(&shown) {
        return Ok(Err("wrong_passkey"));
    }
    let Ok((handle, id)) = webauthn.identify_discoverable_authentication(&shown) else {
        return Ok(Err("wrong_passkey"));
    };
    let Ok(user) = format!("{}_{}", UserId::PREFIX, handle.simple()).parse::<UserId>() else {
        return Ok(Err("wrong_passkey"));
    };
    let mut tx = visit.store().begin().await?;
    let passkeys = of(&mut tx, &user).await?;
    drop(tx);
    let mine = passkeys.iter().map(|(_, passkey)| passkey);
    let Some(passkey) = mine
        .into_iter()
        .find(|passkey| passkey.cred_id().as_slice() == id)
    else {
        return Ok(Err("wrong_passkey"));
    };
    let result = webauthn.finish_discoverable_authentication_v2(&shown, state, passkey);
    Ok(result
        .map(|result| (user, result))
        .map_err(|error| refused(visit, error)))
}

/// Notes the use of a passkey that was checked; what kind of key it is (RFC 8176).
pub(super) async fn spend(
    tx: &mut Tx,
    user: &UserId,
    result: &AuthenticationResult,
) -> Result<Result<&'static str, &'static str>, Failure> {
    let mut mine = of(tx, user).await?.into_iter();
    // None when it was removed since the question was asked.
    let Some((known, mut passkey)) = mine.find(|(_, passkey)| passkey.cred_id() == result.cred_id()) else {
        return Ok(Err("wrong_passkey"));
    };
    passkey.update_credential(result);
    let credential = to_json(&passkey)?;
    let counter = i64::from(result.counter());
    if !factor::note_passkey(tx, &known.factor.id, credential.as_bytes(), counter).await? {
        return Ok(Err("passkey_counter"));
    }
    // A passkey that can leave its device is a key in software.
    Ok(Ok(if result.backup_eligible() { "swk" } else { "hwk" }))
}

/// What to ask of the browser so that it makes a passkey; `None` where there can be none.
pub(super) async fn invite(visit: &Visit, user: &User) -> Result<Option<String>, Failure> {
    let Some(webauthn) = &visit.broker.passkeys().0 else {
        return Ok(None);
    };
    let mut tx = visit.store().begin().await?;
    let there = of(&mut tx, &user.id).await?;
    drop(tx);
    let there = there
        .iter()
        .map(|(_, passkey)| passkey.cred_id().clone())
        .collect();
    let id = user.id.as_ref().rsplit_once('_').map_or("", |(_, hex)| hex);
    let id = Uuid::parse_str(id).map_err(|e| Failure::Store(Error::internal(e)))?;
    let email = user.email.as_deref().unwrap_or(&user.subject);
    let name = user.name.as_deref().unwrap_or(email);
    let (asked, state) = webauthn
        .start_passkey_registration(id, email, name, Some(there))
        .map_err(wrong)?;
    remember::<PasskeyRegistration>(visit, &user.id, state).await?;
    let mut asked = serde_json::to_value(&asked).map_err(|e| Failure::Store(Error::internal(e)))?;
    // A device that can find it again lets its owner in without the password.
    if let Some(selection) = asked.pointer_mut("/publicKey/authenticatorSelection") {
        selection["residentKey"] = "preferred".into();
    }
    to_json(&asked).map(Some)
}

/// A passkey that the browser made.
pub(super) struct Made {
    /// The credential, for [`factor::New`].
    pub(super) secret: String,
    /// Its id.
    pub(super) credential: String,
    /// How it proves who somebody is.
    pub(super) amr: &'static [&'static str],
}

/// Checks what the browser made.
pub(super) async fn made(visit: &Visit, user: &UserId, answer: &str) -> Result<Option<Made>, Failure> {
    let Some(webauthn) = &visit.broker.passkeys().0 else {
        return Ok(None);
    };
    let Some(state) = take::<PasskeyRegistration>(visit, user).await? else {
        return Ok(None);
    };
    let Ok(answer) = serde_json::from_str::<RegisterPublicKeyCredential>(answer) else {
        return Ok(None);
    };
    match webauthn.finish_passkey_registration(&answer, &state) {
        Ok(passkey) => {
            let id: &[u8] = passkey.cred_id().as_ref();
            Ok(Some(Made {
                secret: to_json(&passkey)?,
                credential: store::sha256(id),
                amr: &["pwd", "hwk", "mfa"],
            }))
        }
        Err(error) => {
            tracing::debug!(request = %visit.request.id, %error, "a new passkey was refused");
            Ok(None)
        }
    }
}

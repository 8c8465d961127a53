//! Providers as they are: what each of many shapes of a provider's answers comes to. The table in
//! `docs/CONNECTIONS.md` is what these tests saw.

mod answers;
mod claims;
mod documents;
mod keys;

use crate::idp::Idp;
use crate::world::{World, from, oidc, on_each};
use http::StatusCode;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use wire::{Connection, ConnectionSpec, User};

/// What comes of an answer without fault.
const AS_USUAL: &str = "signed in: groups staff; address verified";
const NO_GROUPS: &str = "signed in: no groups; address verified";
const UNVERIFIED: &str = "signed in: groups staff; address not verified";
const NO_ADDRESS: &str = "signed in: groups staff; no address";
const BAD_TOKEN: &str = "refused: `id_token_invalid`";
const BAD_ANSWER: &str = "refused: `provider_answer_invalid`";
const BAD_GROUPS: &str = "refused: `groups_unusable`";
const UNREACHABLE: &str = "refused: `provider_unreachable`";
/// Before anybody is sent to the provider.
const NOT_SENT: &str = "nobody is sent there: `provider_answer_invalid`";

/// One way in which a provider answers, and what comes of it.
struct Shape {
    what: &'static str,
    /// Who is known to do so; nothing for what only a fault or an attack brings.
    who: &'static str,
    outcome: &'static str,
    /// What is other in the id token: null leaves out, and `now+…` is so many seconds from now.
    claims: Value,
    /// What is other in the connection.
    connection: Value,
    bend: Bend,
}

type Bend = Box<dyn Fn(&Idp)>;

fn shape(what: &'static str, who: &'static str, outcome: &'static str) -> Shape {
    Shape {
        what,
        who,
        outcome,
        claims: json!({}),
        connection: json!({}),
        bend: Box::new(|_| ()),
    }
}

impl Shape {
    fn claims(self, claims: Value) -> Self {
        Self { claims, ..self }
    }

    /// Further ones than were bent already.
    fn and_claims(mut self, claims: Value) -> Self {
        let known = self.claims.as_object_mut().unwrap();
        known.extend(claims.as_object().unwrap().clone());
        self
    }

    fn connection(self, connection: Value) -> Self {
        Self { connection, ..self }
    }

    fn bent(self, bend: impl Fn(&Idp) + 'static) -> Self {
        Self {
            bend: Box::new(bend),
            ..self
        }
    }

    /// Signs in through a provider of this shape.
    async fn seen(&self, w: &World, name: String) -> String {
        // Refusals of one kind within a minute are one in the log.
        w.clock.advance(60);
        let now = w.clock.now().seconds();
        let idp = Idp::start(now, vec!["client_secret_basic"]).await;
        idp.userinfo(json!({"sub": "alice"}));
        (self.bend)(&idp);
        let mut spec = serde_json::to_value(oidc(&name, &idp)).unwrap();
        for (name, value) in self.connection.as_object().unwrap() {
            let text = value.as_str().map(|text| text.replace("{issuer}", idp.issuer()));
            spec[name] = text.map_or_else(|| value.clone(), Value::from);
        }
        let connection = w.connect(from::<ConnectionSpec>(spec), None).await;
        let mut browser = w.browser();
        let away = browser.get(&format!("/login/oidc/{}", connection.id)).await;
        if away.status != StatusCode::SEE_OTHER {
            return format!("nobody is sent there: `{}`", reason(w, &connection).await);
        }
        let mut claims = self.claims.clone();
        claims.as_object_mut().unwrap().values_mut().for_each(|claim| {
            if let Some(off) = claim.as_str().and_then(|text| text.strip_prefix("now+")) {
                let off: serde_json::Number = off.parse().unwrap();
                *claim = match off.as_i64() {
                    Some(off) => json!(now + off),
                    None => json!(now as f64 + off.as_f64().unwrap()),
                };
            }
        });
        let back = idp.authorize(away.location(), claims);
        let answer = browser.get(&back).await;
        let mut users = w.users().await;
        users.retain(|user| user.connection == connection.id);
        match users.pop() {
            Some(user) => {
                assert_eq!(answer.location(), "/me", "{}", self.what);
                signed_in(&user)
            }
            None => {
                assert!(answer.status.as_u16() >= 400, "{}", self.what);
                format!("refused: `{}`", reason(w, &connection).await)
            }
        }
    }
}

async fn reason(w: &World, connection: &Connection) -> String {
    let event = w.last("login.failure").await;
    assert_eq!(event.target.unwrap().id, connection.id.to_string());
    event.reason.unwrap()
}

fn signed_in(user: &User) -> String {
    let groups = match user.groups.as_slice() {
        [] => "no groups".to_owned(),
        some => format!("groups {}", some.join(", ")),
    };
    let address = match (&user.email, user.email_verified) {
        (None, _) => "no address",
        (Some(_), true) => "address verified",
        (Some(_), false) => "address not verified",
    };
    format!("signed in: {groups}; {address}")
}

/// All of them, by what they are about.
fn all() -> Vec<(&'static str, Vec<Shape>)> {
    vec![
        ("ID token: whose, for whom, when", claims::about_the_token()),
        ("ID token: the person", claims::about_the_person()),
        ("Groups", claims::groups()),
        ("Userinfo", answers::userinfo()),
        ("Token endpoint", answers::token()),
        ("Discovery document", documents::all()),
        ("Keys and signatures", keys::all()),
    ]
}

#[tokio::test]
async fn each_shape_of_a_provider_comes_to_what_the_table_says() {
    on_each(async |w| {
        let mut wrong = Vec::new();
        for (topic, shapes) in all() {
            for (n, shape) in shapes.iter().enumerate() {
                let seen = shape.seen(w, format!("{topic} {n}")).await;
                if seen != shape.outcome {
                    wrong.push(format!("{topic}, {}: {seen}", shape.what));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    })
    .await;
}

const BEGIN: &str = "<!-- The table of shapes, written by the broker's tests with UPDATE_SHAPES=1. -->\n";
const END: &str = "<!-- End of the table of shapes. -->\n";

fn table() -> String {
    let mut text = String::new();
    for (topic, shapes) in all() {
        let _ = write!(
            text,
            "\n### {topic}\n\n| what comes | such as from | outcome |\n|---|---|---|\n"
        );
        for shape in shapes {
            let (what, who, outcome) = (shape.what, shape.who, shape.outcome);
            let _ = writeln!(text, "| {what} | {who} | {outcome} |");
        }
    }
    text.push('\n');
    text
}

#[test]
fn the_documented_table_is_the_one_that_is_tested() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/CONNECTIONS.md");
    let document = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("UPDATE_SHAPES").is_some() {
        let whole = format!("{before}{BEGIN}{table}{END}{after}");
        std::fs::write(&path, whole).unwrap();
        return;
    }
    assert!(
        found == table,
        "docs/CONNECTIONS.md does not say what is tested; run the tests once with UPDATE_SHAPES=1"
    );
}

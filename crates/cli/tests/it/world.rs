//! Servers that listen, each with a fresh organisation as `chatelaine setup` makes it, and somebody who types.

use axum::{Router, extract::Request, middleware};
use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use store::{Clock, MasterKey, Store, user};
use testkit::{Database, START, from_json};
use tokens::Keyring;
use wire::{AuditRequest, NewApiToken, NewMember, OrgId, Role, TokenScope};

/// The owner of every organisation of the tests.
pub(crate) const OWNER: &str = "owner@example.com";

/// Runs a test with two servers on fresh databases of each engine.
pub(crate) async fn on_each(test: impl AsyncFn(&Server, &Server)) {
    let (first, second) = (testkit::databases().await, testkit::databases().await);
    for ((engine, one), (_, other)) in first.into_iter().zip(second) {
        // Shown when the test fails.
        println!("on {engine}");
        let servers = (
            Box::pin(Server::start(&one, "Acme")).await,
            Box::pin(Server::start(&other, "Empty")).await,
        );
        Box::pin(test(&servers.0, &servers.1)).await;
        for (server, database) in [(servers.0, one), (servers.1, other)] {
            server.serving.abort();
            server.store.close().await;
            database.remove().await;
        }
    }
}

/// What a server was asked, newest last: method and path with query.
type Asked = Arc<Mutex<Vec<(String, String)>>>;

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) token: String,
    pub(crate) store: Store,
    pub(crate) org: OrgId,
    pub(crate) home: PathBuf,
    asked: Asked,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

impl Server {
    async fn start(database: &Database, name: &str) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = MasterKey::generate().unwrap();
        let clock = Clock::manual(START);
        let store = database.open_at(&url, &key, &clock).await.unwrap();
        let keyring = Keyring::load(&store).await.unwrap();
        let (org, token) = set_up(&store, &keyring, name).await;
        let config = control::ControlConfig {
            at_once: control::AtOnce::default(),
            broker: broker::Broker::new(broker_config(&store, &url)),
            outbound: nowhere(),
            store: store.clone(),
            keyring,
            control_url: url.clone(),
        };
        let asked = Asked::default();
        let router =
            control::router(control::Control::new(config)).layer(broker::session_layer(&store, &url));
        let serving = tokio::spawn(serve(listener, router, asked.clone()));
        let home = std::env::temp_dir().join(OrgId::fresh().to_string().replace("org_", "cli_home_"));
        std::fs::create_dir(&home).unwrap();
        Self {
            url,
            token,
            store,
            org,
            home,
            asked,
            serving,
        }
    }

    /// A file in a folder that goes away with the server.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// What was asked since the last time.
    pub(crate) fn asked(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// What was asked since the last time, other than to read.
    pub(crate) fn writes(&self) -> Vec<(String, String)> {
        let mut asked = self.asked();
        asked.retain(|(method, _)| method != "GET");
        asked
    }

    /// Somebody at a shell, with this server's credential in the environment.
    pub(crate) fn shell(&self) -> Shell {
        let env = [
            ("CHATELAINE_URL", self.url.as_str()),
            ("CHATELAINE_TOKEN", self.token.as_str()),
            ("XDG_CONFIG_HOME", self.home.to_str().unwrap()),
        ];
        Shell {
            env: env.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            input: String::new(),
            terminal: false,
            meanwhile: None,
        }
    }

    /// A command that has to work; what it printed.
    pub(crate) async fn ok(&self, line: &[&str]) -> String {
        let said = self.shell().run(line).await;
        assert_eq!(said.code, 0, "{line:?}\n{}\n{}", said.out, said.err);
        said.out
    }

    /// A request of the owner that has to work.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Value) -> Value {
        request((&self.url, &self.token), (method, path), body).await
    }

    /// Somebody who signed in through a connection.
    pub(crate) async fn person(&self, connection: &str, subject: &str) -> String {
        let identity = user::Identity {
            connection: connection.parse().unwrap(),
            issuer: "https://idp.example.com".into(),
            subject: subject.into(),
            email: Some(format!("{subject}@example.com")),
            email_verified: true,
            name: None,
            groups: vec![],
            claims: serde_json::Map::new(),
        };
        let mut tx = self.store.begin().await.unwrap();
        let person = user::sign_in(&mut tx, &self.org, identity).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        person.user.id.to_string()
    }
}

/// A request that has to work.
pub(crate) async fn request((url, token): (&str, &str), (method, path): (&str, &str), body: Value) -> Value {
    #[expect(clippy::disallowed_methods, reason = "a test plays automation")]
    let client = reqwest::Client::new();
    let answer = client
        .request(method.parse().unwrap(), format!("{url}/api/v1/{path}"))
        .bearer_auth(token)
        .header("content-type", "application/json")
        .header("if-match", "*")
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{method} {path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or(Value::Null)
}

async fn serve(listener: tokio::net::TcpListener, router: Router, asked: Asked) {
    let router = router.layer(middleware::from_fn(
        move |mut request: Request, next: middleware::Next| {
            let path = request
                .uri()
                .path_and_query()
                .map_or("", |p| p.as_str())
                .to_owned();
            asked
                .lock()
                .unwrap()
                .push((request.method().to_string(), path.clone()));
            let context = AuditRequest {
                id: "req-1".into(),
                method: request.method().to_string(),
                path,
                ip: Some("203.0.113.7".into()),
                user_agent: None,
            };
            request.extensions_mut().insert(context);
            next.run(request)
        },
    ));
    axum::serve(listener, router).await.unwrap();
}

/// What `chatelaine setup` makes, and a token for the owner.
async fn set_up(store: &Store, keyring: &Keyring, name: &str) -> (OrgId, String) {
    let mut tx = store.begin().await.unwrap();
    let slug = name.to_lowercase();
    let org = store::org::create(&mut tx, &slug, from_json(json!({"name": name})))
        .await
        .unwrap()
        .id;
    let local = from_json(json!({"name": "Local owners", "kind": "password"}));
    let local = store::connection::create(&mut tx, &org, None, local)
        .await
        .unwrap();
    let identity = user::Identity {
        connection: local.id,
        issuer: "local".into(),
        subject: OWNER.into(),
        email: Some(OWNER.into()),
        email_verified: false,
        name: None,
        groups: vec![],
        claims: serde_json::Map::new(),
    };
    let owner = user::provision(&mut tx, &org, identity).await.unwrap().user;
    let role = NewMember {
        user: owner.id.clone(),
        account: None,
        role: Role::OrgOwner,
    };
    store::org::add_member(&mut tx, &org, role).await.unwrap();
    let (token, prefix, hash) = control::mint_api_token().unwrap();
    let new = NewApiToken::of("test", &[TokenScope::Read, TokenScope::Write, TokenScope::Audit]);
    store::api_token::create(&mut tx, &org, Some(&owner.id), new, (&prefix, &hash))
        .await
        .unwrap();
    tx.commit_housekeeping().await.unwrap();
    keyring.ensure(&org).await.unwrap();
    (org, token)
}

/// The way out of a server whose names lead nowhere: nobody outside is asked.
fn nowhere() -> outbound::Outbound {
    let resolver: outbound::Resolver =
        std::sync::Arc::new(|_| Box::pin(async { Err(std::io::Error::other("no such name")) }));
    outbound::Outbound::with_resolver(outbound::Policy::default(), resolver)
}

fn broker_config(store: &Store, url: &str) -> broker::BrokerConfig {
    broker::BrokerConfig {
        store: store.clone(),
        outbound: outbound::Outbound::new(outbound::Policy::default()),
        control_url: url.to_owned(),
        mailer: broker::mail::Mailer::none(),
    }
}

#[derive(Parser)]
#[command(name = "chatelaine", version)]
struct Cli {
    #[command(subcommand)]
    command: Both,
}

#[derive(clap::Subcommand)]
enum Both {
    #[command(subcommand)]
    Audit(cli::Audit),
    #[command(flatten)]
    Other(cli::Command),
}

/// Where commands are typed.
pub(crate) struct Shell {
    pub(crate) env: HashMap<String, String>,
    pub(crate) input: String,
    pub(crate) terminal: bool,
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

/// Somebody who types, and takes their time.
struct Typist {
    text: std::io::Cursor<Vec<u8>>,
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
}

impl std::io::Read for Typist {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(meanwhile) = self.meanwhile.take() {
            meanwhile();
        }
        self.text.read(buffer)
    }
}

/// What came of a command.
pub(crate) struct Said {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Shell {
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.env.remove(name);
        self
    }

    /// Somebody is there and types this.
    pub(crate) fn typing(mut self, input: &str) -> Self {
        self.input = input.into();
        self.terminal = true;
        self
    }

    /// Before an answer is typed, somebody else does this.
    pub(crate) fn meanwhile(mut self, act: impl FnOnce() + Send + 'static) -> Self {
        self.meanwhile = Some(Box::new(act));
        self
    }

    pub(crate) async fn run(self, line: &[&str]) -> Said {
        let (out, err) = (Kept::default(), Kept::default());
        let cli = match Cli::try_parse_from(std::iter::once(&"chatelaine").chain(line)) {
            Ok(cli) => cli,
            Err(error) => {
                return Said {
                    code: 2,
                    out: String::new(),
                    err: error.to_string(),
                };
            }
        };
        let mut around = cli::Surroundings {
            out: Box::new(out.clone()),
            err: Box::new(err.clone()),
            input: Box::new(Typist {
                text: std::io::Cursor::new(self.input.into_bytes()),
                meanwhile: self.meanwhile,
            }),
            env: self.env,
            asks: self.terminal,
            shows: self.terminal,
        };
        let code = match cli.command {
            Both::Audit(command) => Box::pin(cli::run_audit(command, &mut around)).await,
            Both::Other(command) => Box::pin(cli::run(command, Cli::command(), &mut around)).await,
        };
        Said {
            code,
            out: out.text(),
            err: err.text(),
        }
    }
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

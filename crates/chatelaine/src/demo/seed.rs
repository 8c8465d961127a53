//! What the demo begins with: Acme, its two accounts, one shared identity provider, four apps.

use super::{Admin, DemoApp, NamedAccount, Ports, State, User};
use crate::setup;
use serde_json::{Map, Value, json};
use store::user::Identity;
use store::{Store, Tx};
use tokens::Keyring;
use wire::{
    Account, AccountId, AccountSpec, ActorKind, App, AppId, AppSpec, AuditActor, AuditEvent, BindingSpec,
    Connection, Group, Id, NewApiToken, NewMember, OrgId, OrganisationSpec, Policy, PolicyId, Role,
    TokenScope,
};

/// The broker's client id at the demo's identity provider.
pub(crate) const IDP_CLIENT: &str = "chatelaine";

/// The subject of a demo person.
pub(crate) fn subject(username: &str) -> String {
    format!("acme|{username}")
}

/// A password for a demo person: new for each demo, easy to type.
fn password(username: &str) -> anyhow::Result<String> {
    let secret = store::sha256(store::random_secret("")?)
        .to_lowercase()
        .replace(['-', '_'], "");
    Ok(format!("{username}-{}-{}", &secret[..4], &secret[4..8]))
}

fn people() -> anyhow::Result<Vec<User>> {
    let user = |username: &str, name: &str, domain: &str, group: &str| -> anyhow::Result<User> {
        Ok(User {
            username: username.into(),
            password: password(username)?,
            email: format!("{username}@{domain}"),
            allowed: group == "staff",
            name: name.into(),
            groups: vec![group.into()],
        })
    };
    Ok(vec![
        user("alice", "Alice Weber", "acme.example", "staff")?,
        user("carl", "Carl Contractor", "contractor.example", "contractors")?,
        user("olivia", "Olivia Admin", "acme.example", "staff")?,
    ])
}

/// One transaction's worth of making things, each with its event.
struct Seeding<'a> {
    tx: Tx,
    org: &'a OrgId,
    events: Vec<AuditEvent>,
}

impl Seeding<'_> {
    fn made(&mut self, kind: &str, id: &impl Id, name: &str, account: Option<&AccountId>) {
        let actor = AuditActor::of(ActorKind::System);
        let mut event = store::audit::event(self.org, "system", &format!("{kind}.create"), actor);
        event.target = Some(store::audit::target(kind, id, Some(name)));
        event.account = account.cloned();
        self.events.push(event);
    }

    async fn account(&mut self, name: &str) -> anyhow::Result<Account> {
        let spec = AccountSpec {
            name: name.into(),
            enabled: true,
        };
        let account = store::org::create_account(&mut self.tx, self.org, spec).await?;
        self.made("account", &account.id, name, Some(&account.id));
        Ok(account)
    }

    async fn bind(&mut self, connection: &Connection, account: &Account) -> anyhow::Result<()> {
        let spec: BindingSpec = serde_json::from_value(json!({}))?;
        let pair = (&connection.id, &account.id);
        let binding = store::binding::create(&mut self.tx, self.org, pair, spec).await?;
        self.made("binding", &binding.id, &account.spec.name, Some(&account.id));
        Ok(())
    }

    /// A group for staff, a policy that refuses contractors, one that lets staff in.
    async fn policies(&mut self, account: &Account) -> anyhow::Result<Vec<PolicyId>> {
        let group = serde_json::from_value(json!({
            "name": "Staff",
            "include": [{ "type": "claim", "name": "groups", "value": "staff" }],
        }))?;
        let group: Group = store::rule::create(&mut self.tx, self.org, &account.id, group).await?;
        self.made("group", &group.id, "Staff", Some(&account.id));
        let mut ids = Vec::new();
        for spec in [
            json!({
                "name": "No contractors", "decision": "deny",
                "include": [{ "type": "claim", "name": "groups", "value": "contractors" }],
            }),
            json!({
                "name": "Staff may use it, agents too", "decision": "allow",
                "include": [{ "type": "group", "group": group.id }],
            }),
        ] {
            let spec = serde_json::from_value(spec)?;
            let policy: Policy = store::rule::create(&mut self.tx, self.org, &account.id, spec).await?;
            self.made("policy", &policy.id, &policy.spec.name, Some(&account.id));
            ids.push(policy.id);
        }
        Ok(ids)
    }

    async fn app(&mut self, account: &Account, spec: Value) -> anyhow::Result<App> {
        let spec: AppSpec = serde_json::from_value(spec)?;
        let app = store::app::create(&mut self.tx, self.org, &account.id, spec).await?;
        self.made("app", &app.id, &app.spec.name, Some(&account.id));
        if let Some(target) = self.events.last_mut().and_then(|event| event.target.as_mut()) {
            target.app = Some(AppId::clone(&app.id));
        }
        Ok(app)
    }
}

pub(crate) async fn seed(store: &Store, keyring: &Keyring, ports: Ports) -> anyhow::Result<State> {
    let admin = Admin {
        email: "owner@acme.example".into(),
        password: password("owner-of-acme")?,
    };
    let made = setup::organisation(store, keyring, ("Acme", "acme"), (&admin.email, &admin.password)).await?;
    let org = &made.organisation.id;
    let users = people()?;
    let idp_client_secret = store::random_secret("")?;

    let mut seeding = Seeding {
        tx: store.begin().await?,
        org,
        events: Vec::new(),
    };
    let connection = serde_json::from_value(json!({
        "name": "Acme SSO", "kind": "oidc", "issuer": ports.idp(),
        "client_id": IDP_CLIENT, "client_secret": idp_client_secret,
        "scopes": ["profile", "email", "groups"],
        "allow_internal": [ports.idp()], "bind_new_accounts": true,
    }))?;
    let connection = store::connection::create(&mut seeding.tx, org, None, connection).await?;
    seeding.made("connection", &connection.id, "Acme SSO", None);
    let floor = vec![wire::Selector::Connection {
        connection: connection.id.clone(),
    }];
    let spec = OrganisationSpec {
        name: "Acme".into(),
        primary_connection: Some(connection.id.clone()),
        floor,
        ..OrganisationSpec::default()
    };
    store::org::update(&mut seeding.tx, &made.organisation, spec).await?;

    let (production, labs) = (
        seeding.account("Production").await?,
        seeding.account("Labs").await?,
    );
    let mut apps = Vec::new();
    for (n, account) in (0..).step_by(2).zip([&production, &labs]) {
        seeding.bind(&connection, account).await?;
        let policies = seeding.policies(account).await?;
        let (wiki, tickets, managed_oauth) = if n == 0 {
            ("Wiki", "Tickets", true)
        } else {
            ("Lab notes", "Lab tickets", false)
        };
        let wiki = json!({
            "name": wiki, "kind": "web", "public_url": ports.public(n), "origin_url": ports.origin(n),
            "policies": policies, "managed_oauth": managed_oauth,
        });
        apps.push(seeding.app(account, wiki).await?);
        let tickets = json!({
            "name": tickets, "kind": "mcp",
            "public_url": format!("{}/mcp", ports.public(n + 1)), "origin_url": ports.origin(n + 1),
            "policies": policies, "managed_oauth": managed_oauth,
            "oauth": { "scopes": [
                { "name": "tickets:read", "description": "Read tickets",
                  "covers": [{ "tools": ["list_tickets", "get_ticket", "whoami"] }] },
                { "name": "tickets:write", "description": "Create and close tickets",
                  "covers": [{ "tools": ["create_ticket", "close_ticket"] }] },
            ] },
        });
        apps.push(seeding.app(account, tickets).await?);
    }

    if let Some(olivia) = users.iter().find(|u| u.username == "olivia") {
        let identity = Identity {
            connection: connection.id.clone(),
            issuer: ports.idp(),
            subject: subject(&olivia.username),
            email: Some(olivia.email.clone()),
            email_verified: true,
            name: Some(olivia.name.clone()),
            groups: olivia.groups.clone(),
            claims: Map::new(),
        };
        let person = store::user::provision(&mut seeding.tx, org, identity).await?;
        let role = NewMember {
            user: person.user.id.clone(),
            account: None,
            role: Role::OrgAdmin,
        };
        store::org::add_member(&mut seeding.tx, org, role).await?;
        seeding.made("member", &person.user.id, &olivia.email, None);
    }

    let (token, prefix, hash) = control::mint_api_token()?;
    let scopes = vec![TokenScope::Read, TokenScope::Write, TokenScope::Audit];
    let new = NewApiToken::of("demo", &scopes);
    let owner = Some(&made.owner.user.id);
    let record = store::api_token::create(&mut seeding.tx, org, owner, new, (&prefix, &hash)).await?;
    seeding.made("api_token", &record.id, "demo", None);
    seeding.tx.commit_all(seeding.events).await?;

    Ok(State {
        port_base: ports.0,
        org: org.to_string(),
        admin,
        api_token: token,
        idp_client_secret,
        users,
        accounts: [production, labs]
            .map(|a| NamedAccount {
                id: a.id,
                name: a.spec.name,
            })
            .into(),
        apps: apps
            .into_iter()
            .map(|app| DemoApp {
                id: app.id,
                account: app.account,
                name: app.spec.name,
                kind: app.spec.kind,
                url: app.spec.public_url,
                managed_oauth: app.spec.managed_oauth,
            })
            .collect(),
    })
}

//! Facts and rules in few words.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test file uses a part of it"
)]

use policy::{ClientFacts, Facts, Ruleset, UserFacts};
use serde_json::{Map, Value, json};
use wire::{
    Actor, Authentication, ClientId, ClientTier, ConnectionId, Group, GroupSpec, PolicyDecision, PolicySpec,
    RuleRef, Selector, ServiceTokenId, Timestamp, UserId,
};

pub(crate) fn id<T: std::str::FromStr<Err = wire::InvalidId>>(prefix: &str, n: u8) -> T {
    format!("{prefix}_{n:032x}").parse().unwrap()
}

/// How somebody signed in.
pub(crate) fn by(proof: Value) -> Authentication {
    serde_json::from_value(proof).unwrap()
}

pub(crate) fn sel(value: Value) -> Selector {
    serde_json::from_value(value).unwrap()
}

pub(crate) fn everyone() -> Selector {
    Selector::Everyone {}
}

pub(crate) fn actor(actor: Actor) -> Selector {
    Selector::Actor { actor }
}

pub(crate) fn path(path: &str) -> Selector {
    Selector::Request {
        methods: vec![],
        path: Some(path.into()),
    }
}

pub(crate) fn tool(tool: &str) -> Selector {
    Selector::McpTool { tool: tool.into() }
}

pub(crate) fn spec(decision: PolicyDecision, include: Vec<Selector>) -> PolicySpec {
    PolicySpec {
        name: "p".into(),
        decision,
        include,
        require: vec![],
        exclude: vec![],
    }
}

pub(crate) fn rules(floor: &[Selector], specs: Vec<PolicySpec>, groups: &[Group]) -> Ruleset {
    let named: Vec<_> = specs
        .into_iter()
        .enumerate()
        .map(|(i, spec)| {
            (
                RuleRef {
                    id: format!("p{i}"),
                    name: format!("policy {i}"),
                },
                spec,
            )
        })
        .collect();
    Ruleset::compile(floor, &named, groups).unwrap()
}

pub(crate) fn group(n: u8, members: Vec<UserId>, include: Vec<Selector>) -> Group {
    Group {
        id: id("grp", n),
        account: id("acc", 1),
        spec: GroupSpec {
            name: format!("group {n}"),
            members,
            include,
        },
        created_at: serde_json::from_value::<Timestamp>(json!("2026-01-01T00:00:00Z"))
            .or_else(|_| serde_json::from_value(json!(0)))
            .unwrap(),
        version: 1,
    }
}

/// Owns what facts borrow.
pub(crate) struct World {
    pub(crate) user: UserId,
    pub(crate) connection: ConnectionId,
    pub(crate) email: Option<String>,
    pub(crate) verified: bool,
    pub(crate) claims: Map<String, Value>,
    pub(crate) authentication: Authentication,
    pub(crate) groups: Vec<String>,
    pub(crate) client: ClientId,
    pub(crate) client_id: String,
    pub(crate) host: Option<String>,
    pub(crate) tier: ClientTier,
    pub(crate) token: ServiceTokenId,
    pub(crate) scopes: Vec<String>,
}

impl Default for World {
    fn default() -> Self {
        let claims = json!({"department": "Sales", "roles": ["dev", "ops"], "level": 3,
                            "staff": true});
        Self {
            user: id("usr", 1),
            connection: id("con", 1),
            email: Some("Ada@Example.com".into()),
            verified: true,
            claims: claims.as_object().unwrap().clone(),
            authentication: by(json!({"amr": ["pwd", "otp"]})),
            groups: vec!["eng".into()],
            client: id("cli", 1),
            client_id: "https://agent.example/client.json".into(),
            host: Some("agent.example".into()),
            tier: ClientTier::DomainVerified,
            token: id("svc", 1),
            scopes: vec!["read".into()],
        }
    }
}

impl World {
    pub(crate) fn person(&self) -> Facts<'_> {
        let user = UserFacts {
            id: &self.user,
            email: self.email.as_deref(),
            email_verified: self.verified,
            connection: &self.connection,
            claims: &self.claims,
            groups: &self.groups,
        };
        Facts {
            user: Some(user),
            authentication: Some(&self.authentication),
            ..Facts::nobody(Actor::Browser)
        }
    }

    pub(crate) fn agent(&self) -> Facts<'_> {
        let client = ClientFacts {
            id: &self.client,
            client_id: &self.client_id,
            verified_host: self.host.as_deref(),
            tier: self.tier,
        };
        Facts {
            client: Some(client),
            actor: Actor::Agent,
            scopes: Some(&self.scopes),
            ..self.person()
        }
    }

    pub(crate) fn service(&self) -> Facts<'_> {
        Facts {
            service_token: Some(&self.token),
            ..Facts::nobody(Actor::Service)
        }
    }
}

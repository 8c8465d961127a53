//! What there is to manage: one line a resource. Commands, help, completion and the comparison with the API's
//! description follow from this table.

use http::Method;

/// What can be done to a resource by the common commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    List,
    Get,
    Create,
    Update,
    Delete,
}

/// What only some resources can do.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) method: Method,
    /// Behind the resource's path and, if it is done to one thing, that thing's identifier.
    pub(crate) path: &'static str,
    pub(crate) target: Target,
    /// Whether it takes `-f` and `--set`.
    pub(crate) body: bool,
    /// For lists.
    pub(crate) columns: &'static [Column],
}

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// All.
    Collection,
    /// One thing.
    Item,
    /// A part of one thing, with an identifier of its own.
    Part,
}

/// A column's heading and the fields behind it, dotted; the first that is there is shown.
pub(crate) type Column = (&'static str, &'static [&'static str]);

/// One kind of thing.
pub(crate) struct Resource {
    /// `apps`: the command, and the path below `/api/v1`.
    pub(crate) name: &'static str,
    /// `app`: an alias of the command.
    pub(crate) singular: &'static str,
    pub(crate) about: &'static str,
    pub(crate) verbs: &'static [Verb],
    pub(crate) columns: &'static [Column],
    /// The fields by which a person names one; the first that fits.
    pub(crate) keys: &'static [&'static str],
    /// Filters of the list that have a flag of their own, with the resource that they name.
    pub(crate) filters: &'static [(&'static str, Option<&'static str>)],
    pub(crate) actions: &'static [Action],
    /// Help: what to type.
    pub(crate) examples: &'static str,
}

use Verb::{Create, Delete, Get, List, Update};

const ALL: &[Verb] = &[List, Get, Create, Update, Delete];
const ACCOUNT: (&str, Option<&str>) = ("account", Some("accounts"));
const NAME: Column = ("NAME", &["name"]);
const ID: Column = ("ID", &["id"]);
const IN: Column = ("ACCOUNT", &["account"]);

const fn post(name: &'static str, about: &'static str, target: Target, body: bool) -> Action {
    Action {
        name,
        about,
        method: Method::POST,
        path: name,
        target,
        body,
        columns: &[],
    }
}

const fn look(name: &'static str, about: &'static str, target: Target, columns: &'static [Column]) -> Action {
    Action {
        name,
        about,
        method: Method::GET,
        path: name,
        target,
        body: false,
        columns,
    }
}

/// All of them, in the order of the help.
pub(crate) static RESOURCES: &[Resource] = &[
    Resource {
        name: "accounts",
        singular: "account",
        about: "Tenants inside the organisation",
        verbs: ALL,
        columns: &[NAME, ("ENABLED", &["enabled"]), ID],
        keys: &["name"],
        filters: &[],
        actions: &[],
        examples: "chatelaine account create --set name=Production",
    },
    Resource {
        name: "members",
        singular: "member",
        about: "Roles given to people",
        verbs: ALL,
        columns: &[
            ("USER", &["email", "user_name", "user"]),
            ("ROLE", &["role"]),
            IN,
            ID,
        ],
        keys: &["email", "user"],
        filters: &[("user", Some("users")), ACCOUNT, ("role", None)],
        actions: &[],
        examples: "chatelaine member create --set user=ada@example.com --set role=org_auditor",
    },
    Resource {
        name: "invitations",
        singular: "invitation",
        about: "Links that give whoever opens them a role, once",
        verbs: &[List, Get, Create, Delete],
        columns: &[
            ("E-MAIL", &["email"]),
            ("ROLE", &["role"]),
            IN,
            ("STATE", &["state"]),
            ("EXPIRES", &["expires_at"]),
            ID,
        ],
        keys: &["email"],
        filters: &[ACCOUNT, ("state", None)],
        actions: &[post("resend", "Make a new link and send it", Target::Item, true)],
        examples: "chatelaine invitation create --set email=ada@example.com --set role=account_admin --account Production",
    },
    Resource {
        name: "role-mappings",
        singular: "role-mapping",
        about: "Roles that follow from groups of an identity provider",
        verbs: ALL,
        columns: &[
            ("GROUP", &["group"]),
            ("CONNECTION", &["connection"]),
            ("ROLE", &["role"]),
            IN,
            ID,
        ],
        keys: &["group"],
        filters: &[("connection", Some("connections")), ACCOUNT],
        actions: &[],
        examples: "chatelaine role-mapping create --set connection=Okta --set group=it-admins --set role=org_admin",
    },
    Resource {
        name: "api-tokens",
        singular: "api-token",
        about: "Credentials for automation, such as this command line",
        verbs: ALL,
        columns: &[
            NAME,
            ("OWNER", &["owner", "account"]),
            ("SCOPES", &["scopes"]),
            ("EXPIRES", &["expires_at"]),
            ("LAST USED", &["last_used_at"]),
            ID,
        ],
        keys: &["name"],
        filters: &[ACCOUNT],
        actions: &[post("roll", "Give it a new secret", Target::Item, true)],
        examples: "chatelaine api-token create --set name=pipeline --set 'scopes=[read, write]' --set expires_at=2027-01-01T00:00:00Z",
    },
    Resource {
        name: "connections",
        singular: "connection",
        about: "Upstream identity providers",
        verbs: ALL,
        columns: &[
            NAME,
            ("KIND", &["kind"]),
            ("ISSUER", &["issuer"]),
            IN,
            ("ENABLED", &["enabled"]),
            ("LAST SIGN-IN", &["last_success_at"]),
            ID,
        ],
        keys: &["name"],
        filters: &[],
        actions: &[
            post(
                "discover",
                "Look an issuer up: what it offers, what to enter",
                Target::Collection,
                true,
            ),
            post(
                "claims-preview",
                "See what its claims mean here",
                Target::Item,
                true,
            ),
            look("health", "See how it has been doing", Target::Item, &[]),
            look(
                "trials",
                "List its test runs",
                Target::Item,
                &[("STATE", &["state"]), ("CREATED", &["created_at"]), ID],
            ),
            Action {
                name: "test",
                about: "Begin a test run: prints the link to open",
                method: Method::POST,
                path: "trials",
                target: Target::Item,
                body: true,
                columns: &[],
            },
            Action {
                name: "trial",
                about: "See one test run, step by step",
                method: Method::GET,
                path: "trials",
                target: Target::Part,
                body: false,
                columns: &[],
            },
        ],
        examples: "chatelaine connection create -f okta.yaml\n  chatelaine connection update Okta --set enabled=false --dry-run",
    },
    Resource {
        name: "connection-presets",
        singular: "connection-preset",
        about: "Vendors of identity providers that are known here",
        verbs: &[List],
        columns: &[
            ("PRESET", &["preset", "id"]),
            NAME,
            ("ISSUER", &["issuer", "issuer_template"]),
        ],
        keys: &["name"],
        filters: &[],
        actions: &[],
        examples: "chatelaine connection-presets list -o yaml",
    },
    Resource {
        name: "bindings",
        singular: "binding",
        about: "Which connection signs people in to which account",
        verbs: ALL,
        columns: &[
            ("CONNECTION", &["connection"]),
            IN,
            ("MODE", &["mode"]),
            ("STATE", &["state"]),
            ("DRAINS UNTIL", &["drain_until"]),
            ID,
        ],
        keys: &[],
        filters: &[ACCOUNT, ("connection", Some("connections"))],
        actions: &[Action {
            name: "change",
            about: "Change many bindings of one connection alike: mode, state, claims",
            method: Method::PATCH,
            path: "",
            target: Target::Collection,
            body: true,
            columns: &[],
        }],
        examples: "chatelaine binding create --set connection=Okta --set 'accounts=[Production, Labs]' --dry-run",
    },
    Resource {
        name: "users",
        singular: "user",
        about: "People, as their connections know them",
        verbs: &[List, Get, Update],
        columns: &[
            ("E-MAIL", &["email", "subject"]),
            NAME,
            ("CONNECTION", &["connection"]),
            ("DISABLED", &["disabled"]),
            ("LAST SIGN-IN", &["last_login_at"]),
            ID,
        ],
        keys: &["email", "subject"],
        filters: &[("q", None)],
        actions: &[
            look(
                "roles",
                "See which roles somebody has, and why",
                Target::Item,
                &[("ROLE", &["role"]), IN, ("BY", &["member", "mapping"])],
            ),
            look(
                "factors",
                "List somebody's second factors",
                Target::Item,
                &[
                    ("FACTOR", &["name"]),
                    ("KIND", &["kind"]),
                    ("LAST USED", &["last_used_at"]),
                    ID,
                ],
            ),
            Action {
                name: "remove-factor",
                about: "Take a second factor away, such as a lost one",
                method: Method::DELETE,
                path: "factors",
                target: Target::Part,
                body: false,
                columns: &[],
            },
        ],
        examples: "chatelaine users list --q ada\n  chatelaine user update ada@example.com --set disabled=true",
    },
    Resource {
        name: "sessions",
        singular: "session",
        about: "Browser sessions",
        verbs: &[List, Delete],
        columns: &[
            ("USER", &["user"]),
            ("APP", &["app"]),
            ("BEGAN", &["created_at"]),
            ("ADDRESS", &["ip"]),
            ID,
        ],
        keys: &[],
        filters: &[("user", Some("users"))],
        actions: &[],
        examples: "chatelaine sessions list --user ada@example.com",
    },
    Resource {
        name: "groups",
        singular: "group",
        about: "Groups of people, for policies",
        verbs: ALL,
        columns: &[NAME, IN, ID],
        keys: &["name"],
        filters: &[ACCOUNT],
        actions: &[look(
            "members",
            "See who is in it now, by name or by rule",
            Target::Item,
            &[("USER", &["email", "name", "id"]), ("NAMED", &["named"]), ID],
        )],
        examples: "chatelaine group create --account Labs --set name=Staff --set 'include=[{type: email_domain, domain: example.com}]'",
    },
    Resource {
        name: "policies",
        singular: "policy",
        about: "Reusable rules, put on apps in order",
        verbs: ALL,
        columns: &[NAME, ("DECISION", &["decision"]), IN, ID],
        keys: &["name"],
        filters: &[ACCOUNT],
        actions: &[post(
            "test",
            "Ask what would be decided, and why",
            Target::Collection,
            true,
        )],
        examples: "chatelaine policy create --account Labs -f policy.yaml\n  chatelaine policy test --set app=Wiki --set user=ada@example.com",
    },
    Resource {
        name: "apps",
        singular: "app",
        about: "What the gateway protects",
        verbs: ALL,
        columns: &[
            NAME,
            ("KIND", &["kind"]),
            IN,
            ("URL", &["public_url"]),
            ("MANAGED OAUTH", &["managed_oauth"]),
            ("ENABLED", &["enabled"]),
            ID,
        ],
        keys: &["name", "public_url"],
        filters: &[ACCOUNT],
        actions: &[Action {
            name: "warnings",
            about: "See policies that never decide, or let more through than they say",
            method: Method::GET,
            path: "policy-warnings",
            target: Target::Item,
            body: false,
            columns: &[
                ("POLICY", &["policy.name"]),
                ("KIND", &["kind"]),
                ("WHY", &["detail"]),
            ],
        }],
        examples: "chatelaine app update Wiki --set managed_oauth=true --dry-run\n  chatelaine app get Wiki --account Labs -o yaml",
    },
    Resource {
        name: "service-tokens",
        singular: "service-token",
        about: "Two-part credentials with which machines come to apps",
        verbs: ALL,
        columns: &[
            NAME,
            IN,
            ("ENABLED", &["enabled"]),
            ("EXPIRES", &["expires_at"]),
            ("LAST USED", &["last_used_at"]),
            ID,
        ],
        keys: &["name"],
        filters: &[ACCOUNT],
        actions: &[post(
            "rotate",
            "Give it a new secret; the old one goes on for a while",
            Target::Item,
            true,
        )],
        examples: "chatelaine service-token rotate backup --set overlap_seconds=3600",
    },
    Resource {
        name: "clients",
        singular: "client",
        about: "Agents: OAuth clients of apps",
        verbs: ALL,
        columns: &[
            NAME,
            ("APP", &["app"]),
            ("TIER", &["tier"]),
            ("STATE", &["state"]),
            ("GRANTS", &["live_grants"]),
            ID,
        ],
        keys: &["name", "client_id"],
        filters: &[("app", Some("apps")), ("state", None)],
        actions: &[],
        examples: "chatelaine clients list --state pending\n  chatelaine client update cli_0193… --set state=blocked",
    },
    Resource {
        name: "grants",
        singular: "grant",
        about: "What people gave to agents",
        verbs: &[List, Get, Delete],
        columns: &[
            ("USER", &["user_email", "user"]),
            ("AGENT", &["client_name"]),
            ("APP", &["app_name", "app"]),
            ("SCOPES", &["scopes"]),
            ("STATE", &["state"]),
            ID,
        ],
        keys: &[],
        filters: &[
            ("user", Some("users")),
            ("client", Some("clients")),
            ("app", Some("apps")),
            ("state", None),
        ],
        actions: &[],
        examples: "chatelaine grants list --user ada@example.com --state active\n  chatelaine grant delete gnt_0193…",
    },
    Resource {
        name: "signing-keys",
        singular: "signing-key",
        about: "The keys that sign the organisation's tokens",
        verbs: &[List],
        columns: &[
            ID,
            ("ALGORITHM", &["algorithm"]),
            ("STATE", &["state"]),
            ("CREATED", &["created_at"]),
        ],
        keys: &[],
        filters: &[],
        actions: &[post(
            "rotate",
            "Sign with the next key from now on",
            Target::Collection,
            false,
        )],
        examples: "chatelaine signing-keys rotate",
    },
    Resource {
        name: "webhooks",
        singular: "webhook",
        about: "Where events are sent",
        verbs: ALL,
        columns: &[
            NAME,
            ("URL", &["url"]),
            IN,
            ("ENABLED", &["enabled"]),
            ("LAST SUCCESS", &["last_success_at"]),
            ("FAILING SINCE", &["failing_since"]),
            ID,
        ],
        keys: &["name"],
        filters: &[ACCOUNT],
        actions: &[
            post(
                "test",
                "Send an event that means nothing, and see what comes back",
                Target::Item,
                false,
            ),
            post(
                "rotate-secret",
                "Sign with a new secret; the old one goes on for a while",
                Target::Item,
                true,
            ),
            look("deliveries", "List what was sent", Target::Item, DELIVERIES),
            Action {
                name: "delivery",
                about: "See what was sent and what came back",
                method: Method::GET,
                path: "deliveries",
                target: Target::Part,
                body: false,
                columns: &[],
            },
            Action {
                name: "replay",
                about: "Send a delivery again",
                method: Method::POST,
                path: "deliveries/{}/replay",
                target: Target::Part,
                body: false,
                columns: &[],
            },
        ],
        examples: "chatelaine webhook test siem\n  chatelaine webhook deliveries siem --filter state=exhausted",
    },
];

const DELIVERIES: &[Column] = &[
    ("EVENT", &["type"]),
    ("STATE", &["state"]),
    ("ATTEMPTS", &["attempts"]),
    ("STATUS", &["status"]),
    ("LAST ATTEMPT", &["last_attempt_at"]),
    ID,
];

/// The resource of a name, an alias or a path.
pub(crate) fn find(name: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|r| r.name == name || r.singular == name)
}

/// The resource whose identifiers begin so.
pub(crate) fn of_id(id: &str) -> Option<&'static str> {
    let (prefix, rest) = id.split_once('_')?;
    if rest.len() != 32 || !rest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    Some(match prefix {
        "acc" => "accounts",
        "con" => "connections",
        "bnd" => "bindings",
        "usr" => "users",
        "mem" => "members",
        "inv" => "invitations",
        "rmp" => "role-mappings",
        "grp" => "groups",
        "app" => "apps",
        "pol" => "policies",
        "cli" => "clients",
        "gnt" => "grants",
        "ses" => "sessions",
        "tok" => "api-tokens",
        "key" => "signing-keys",
        "svc" => "service-tokens",
        "whk" => "webhooks",
        "org" | "evt" | "whd" | "trl" | "fac" => "",
        _ => return None,
    })
}

/// Which resource a field of a body names, so that names may stand for identifiers there.
pub(crate) fn named_by(field: &str) -> Option<&'static str> {
    Some(match field {
        "account" | "accounts" => "accounts",
        "connection" | "primary_connection" => "connections",
        "app" => "apps",
        "user" => "users",
        "client" => "clients",
        "policies" => "policies",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Paths that are no resource of a pattern; they have commands of their own, or belong to the dashboard.
    const ELSEWHERE: &[&str] = &["session", "organisation", "overview", "audit"];

    /// Below a resource, but for the dashboard alone.
    const NOT_HERE: &[&str] = &[];

    #[test]
    fn every_collection_of_the_api_has_its_commands() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let description: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let mut missing = BTreeSet::new();
        for (path, item) in description["paths"].as_object().unwrap() {
            let Some(below) = path.strip_prefix("/api/v1/") else {
                continue;
            };
            let parts: Vec<_> = below.split('/').collect();
            if ELSEWHERE.contains(&parts[0]) || parts[0] == "me" || NOT_HERE.contains(&below) {
                continue;
            }
            let Some(resource) = find(parts[0]) else {
                missing.insert(below.to_owned());
                continue;
            };
            for method in item.as_object().unwrap().keys().filter(|m| *m != "parameters") {
                let verb = match (parts.as_slice(), method.as_str()) {
                    ([_], "get") => Some(List),
                    ([_], "post") => Some(Create),
                    ([_, "{id}"], "get") => Some(Get),
                    ([_, "{id}"], "patch") => Some(Update),
                    ([_, "{id}"], "delete") => Some(Delete),
                    _ => None,
                };
                let known = match verb {
                    Some(verb) => resource.verbs.contains(&verb),
                    None => resource.actions.iter().any(|action| {
                        let mine = match action.target {
                            Target::Collection => action.path.to_owned(),
                            Target::Item => format!("{{}}/{}", action.path),
                            Target::Part if action.path.contains("{}") => format!("{{}}/{}", action.path),
                            Target::Part => format!("{{}}/{}/{{}}", action.path),
                        };
                        let theirs = parts[1..]
                            .iter()
                            .map(|p| if p.starts_with('{') { "{}" } else { p });
                        let theirs = theirs.collect::<Vec<_>>().join("/");
                        mine == theirs && action.method.as_str().eq_ignore_ascii_case(method)
                    }),
                };
                if !known {
                    missing.insert(format!("{method} {below}"));
                }
            }
        }
        assert!(
            missing.is_empty(),
            "the API can do what no command does: {missing:#?}"
        );
    }
}

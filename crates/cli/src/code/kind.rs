//! What an organisation's configuration is made of: the kinds of things, their order, their writable form.

use crate::node::{Content, Key, Node};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::Segment;

/// One kind of thing that a file describes. The order is that in which they are made: what comes later names
/// what comes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Connection,
    Organisation,
    Account,
    Binding,
    ServiceToken,
    Group,
    Policy,
    App,
    Client,
    Webhook,
    RoleMapping,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 11] = [
        Self::Connection,
        Self::Organisation,
        Self::Account,
        Self::Binding,
        Self::ServiceToken,
        Self::Group,
        Self::Policy,
        Self::App,
        Self::Client,
        Self::Webhook,
        Self::RoleMapping,
    ];

    /// The word for one.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Organisation => "organisation",
            Self::Account => "account",
            Self::Binding => "binding",
            Self::ServiceToken => "service token",
            Self::Group => "group",
            Self::Policy => "policy",
            Self::App => "app",
            Self::Client => "client",
            Self::Webhook => "webhook",
            Self::RoleMapping => "role mapping",
        }
    }

    /// The key of its list in a file.
    pub(crate) const fn section(self) -> &'static str {
        match self {
            Self::Connection => "connections",
            Self::Organisation => "organisation",
            Self::Account => "accounts",
            Self::Binding => "bindings",
            Self::ServiceToken => "service_tokens",
            Self::Group => "groups",
            Self::Policy => "policies",
            Self::App => "apps",
            Self::Client => "clients",
            Self::Webhook => "webhooks",
            Self::RoleMapping => "role_mappings",
        }
    }

    /// Its path in the API.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::ServiceToken => "service-tokens",
            Self::RoleMapping => "role-mappings",
            _ => self.section(),
        }
    }

    /// How its identifiers begin.
    pub(crate) const fn prefix(self) -> &'static str {
        match self {
            Self::Connection => "con",
            Self::Organisation => "org",
            Self::Account => "acc",
            Self::Binding => "bnd",
            Self::ServiceToken => "svc",
            Self::Group => "grp",
            Self::Policy => "pol",
            Self::App => "app",
            Self::Client => "cli",
            Self::Webhook => "whk",
            Self::RoleMapping => "rmp",
        }
    }

    /// Whether a change of one can take access away or give it, so that the server is asked for the impact.
    pub(crate) const fn decides(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::Organisation
                | Self::Account
                | Self::Binding
                | Self::Group
                | Self::Policy
                | Self::App
                | Self::ServiceToken
                | Self::Client
        )
    }

    /// The writable part, read strictly: defaults filled in, keys in the order of the API's description.
    pub(crate) fn normalise(self, spec: Value) -> Result<Node, Unacceptable> {
        match self {
            Self::Connection => typed::<wire::ConnectionSpec>(spec),
            Self::Organisation => typed::<wire::OrganisationSpec>(spec),
            Self::Account => typed::<wire::AccountSpec>(spec),
            Self::Binding => typed::<wire::BindingSpec>(spec),
            Self::ServiceToken => typed::<wire::ServiceTokenSpec>(spec),
            Self::Group => typed::<wire::GroupSpec>(spec).map(sorted_members),
            Self::Policy => typed::<wire::PolicySpec>(spec),
            Self::App => typed::<wire::AppSpec>(spec),
            Self::Client => typed::<ClientSpec>(spec),
            Self::Webhook => typed::<wire::WebhookSpec>(spec),
            Self::RoleMapping => typed::<wire::RoleMappingSpec>(spec),
        }
    }

    /// The writable part of what the server showed. What is not writable is left out.
    pub(crate) fn spec_of(self, shown: Value) -> Result<Node, Unacceptable> {
        match self {
            Self::Connection => part::<wire::Connection, _>(shown, |c| c.spec),
            Self::Organisation => part::<wire::Organisation, _>(shown, |o| o.spec),
            Self::Account => part::<wire::Account, _>(shown, |a| a.spec),
            Self::Binding => part::<wire::Binding, _>(shown, |b| b.spec),
            Self::ServiceToken => part::<wire::ServiceToken, _>(shown, |t| t.spec),
            Self::Group => part::<wire::Group, _>(shown, |g| g.spec).map(sorted_members),
            Self::Policy => part::<wire::Policy, _>(shown, |p| p.spec),
            Self::App => part::<wire::App, _>(shown, |a| a.spec),
            Self::Client => part::<wire::Client, _>(shown, |c| ClientSpec {
                confidential: c.token_endpoint_auth_method.starts_with("client_secret"),
                jwks_uri: c.jwks_uri,
                name: c.name,
                redirect_uris: c.redirect_uris,
                tier: c.tier,
                state: c.state,
            }),
            Self::Webhook => part::<wire::Webhook, _>(shown, |w| w.spec),
            Self::RoleMapping => part::<wire::RoleMapping, _>(shown, |m| m.spec),
        }
    }

    /// The same without what says nothing: keys whose absence means the same.
    pub(crate) fn brief(self, spec: &Node) -> Node {
        let mut brief = spec.clone();
        let mut path = Vec::new();
        self.shorten(&mut brief, &mut path, spec);
        brief
    }

    /// Tries to leave out each key below `path`, and goes into what has to stay.
    fn shorten(self, root: &mut Node, path: &mut Vec<usize>, whole: &Node) {
        let mut i = 0;
        while let Some(kept) = child(root, path, i) {
            // A name and the kind of a thing are said, even if they could be guessed.
            if let Some(key) = kept
                && !matches!(key.name.as_str(), "name" | "kind" | "type")
            {
                let taken = remove(root, path, i);
                let same = self.normalise(root.to_value()).is_ok_and(|again| again == *whole);
                if same {
                    continue;
                }
                if let Some(taken) = taken {
                    insert(root, path, i, taken);
                }
            }
            path.push(i);
            self.shorten(root, path, whole);
            path.pop();
            i += 1;
        }
    }
}

fn at<'a>(root: &'a mut Node, path: &[usize]) -> Option<&'a mut Node> {
    path.iter().try_fold(root, |node, i| match &mut node.content {
        Content::Map(entries) => entries.get_mut(*i).map(|(_, v)| v),
        Content::List(items) => items.get_mut(*i),
        Content::Scalar(_) => None,
    })
}

/// The key of the i-th child (none in a list), if there is an i-th.
fn child(root: &mut Node, path: &[usize], i: usize) -> Option<Option<Key>> {
    match &at(root, path)?.content {
        Content::Map(entries) => entries.get(i).map(|(k, _)| Some(k.clone())),
        Content::List(items) => items.get(i).map(|_| None),
        Content::Scalar(_) => None,
    }
}

fn remove(root: &mut Node, path: &[usize], i: usize) -> Option<(Key, Node)> {
    match &mut at(root, path)?.content {
        Content::Map(entries) => Some(entries.remove(i)),
        _ => None,
    }
}

fn insert(root: &mut Node, path: &[usize], i: usize, entry: (Key, Node)) {
    if let Some(Node {
        content: Content::Map(entries),
        ..
    }) = at(root, path)
    {
        entries.insert(i, entry);
    }
}

/// Why a value is not acceptable, and where in it.
#[derive(Debug, Clone)]
pub(crate) struct Unacceptable {
    /// JSON pointer.
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

fn typed<T: DeserializeOwned + Serialize>(value: Value) -> Result<Node, Unacceptable> {
    let spec: T = read(value)?;
    ordered(&spec)
}

fn part<T: DeserializeOwned, S: Serialize>(value: Value, spec: fn(T) -> S) -> Result<Node, Unacceptable> {
    ordered(&spec(read(value)?))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Unacceptable> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let mut pointer = String::new();
        for segment in error.path() {
            pointer.push('/');
            match segment {
                Segment::Seq { index } => pointer.push_str(&index.to_string()),
                Segment::Map { key } => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
                Segment::Enum { .. } | Segment::Unknown => {
                    pointer.pop();
                }
            }
        }
        let detail = error.into_inner().to_string();
        // An unknown key is not on the path, but in the message.
        let unknown = detail
            .strip_prefix("unknown field `")
            .and_then(|d| d.split('`').next());
        if let Some(key) = unknown
            && !pointer.ends_with(&format!("/{key}"))
        {
            pointer.push('/');
            pointer.push_str(key);
        }
        Unacceptable { pointer, detail }
    })
}

/// Members are a set: in which order they were entered says nothing.
fn sorted_members(mut group: Node) -> Node {
    if let Content::Map(entries) = &mut group.content
        && let Some((_, members)) = entries.iter_mut().find(|(k, _)| k.name == "members")
        && let Content::List(items) = &mut members.content
    {
        items.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        items.dedup();
    }
    group
}

/// As JSON text, keys keep the order of the type's fields.
fn ordered(spec: &impl Serialize) -> Result<Node, Unacceptable> {
    let text = serde_json::to_string(spec);
    text.and_then(|text| serde_json::from_str(&text))
        .map_err(|error| Unacceptable {
            pointer: String::new(),
            detail: error.to_string(),
        })
}

/// A client that an administrator entered, as a file says it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientSpec {
    name: String,
    redirect_uris: Vec<String>,
    #[serde(default)]
    confidential: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jwks_uri: Option<String>,
    #[serde(default = "approved")]
    tier: wire::ClientTier,
    #[serde(default = "active")]
    state: wire::ClientState,
}

const fn approved() -> wire::ClientTier {
    wire::ClientTier::Approved
}

const fn active() -> wire::ClientState {
    wire::ClientState::Active
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_says_nothing_is_left_out_at_every_depth() {
        let spec = json!({
            "name": "Wiki", "kind": "web", "public_url": "https://w", "origin_url": "http://o",
            "policies": [], "enabled": true, "managed_oauth": true,
            "oauth": {"access_token_seconds": 900, "grant_seconds": 300,
                "registration": {"dynamic": false, "approval": false}},
        });
        let whole = Kind::App.normalise(spec).unwrap();
        let brief = Kind::App.brief(&whole);
        assert_eq!(
            brief.to_value(),
            json!({
                "name": "Wiki", "kind": "web", "public_url": "https://w", "origin_url": "http://o",
                "managed_oauth": true, "oauth": {"grant_seconds": 300, "registration": {"dynamic": false}},
            })
        );
        assert_eq!(Kind::App.normalise(brief.to_value()).unwrap(), whole);
    }

    #[test]
    fn unknown_keys_and_wrong_values_say_where() {
        let pointer = |kind: Kind, value| kind.normalise(value).unwrap_err().pointer;
        assert_eq!(
            pointer(Kind::Account, json!({"name": "x", "enabeld": true})),
            "/enabeld"
        );
        let app = json!({"name": "x", "kind": "web", "public_url": "x", "origin_url": "x", "oauth": {"registration": {"dynamc": 1}}});
        assert_eq!(pointer(Kind::App, app), "/oauth/registration/dynamc");
        assert_eq!(pointer(Kind::Account, json!({"name": 3})), "/name");
    }
}

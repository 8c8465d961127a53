//! The REST contract: typed ids, resources, problem body, pages. It does no IO and compiles to wasm,
//! because the dashboard shares it.
//!
//! A resource `X` shows `XSpec` (what may be written) flattened beside what the server adds. `POST`
//! takes `NewX` or `XSpec`, `PATCH` takes a JSON merge patch (RFC 7396) of `XSpec`.
//!
//! | route under `/api/v1` | verbs |
//! |---|---|
//! | `/session` | GET [`Session`] (dashboard and tokens) |
//! | `/organisation` | GET, PATCH [`Organisation`] |
//! | `/accounts[/{id}]` | GET list, POST [`AccountSpec`], GET, PATCH, DELETE |
//! | `/members[/{id}]` | GET list `?user=&account=&role=`, POST [`NewMember`], GET, PATCH [`MemberSpec`], DELETE |
//! | `/invitations[/{id}]` | GET list `?account=&state=`, POST [`NewInvitation`] → [`CreatedInvitation`], GET, DELETE (revoke) |
//! | `/invitations/{id}/resend` | POST [`ResendInvitation`] → [`CreatedInvitation`] |
//! | `/role-mappings[/{id}]` | GET list `?connection=&account=`, POST [`RoleMappingSpec`], GET, PATCH, DELETE |
//! | `/users/{id}/factors[/{factor}]` | GET list [`Factor`], DELETE |
//! | `/users/{id}/roles` | GET [`EffectiveRole`]s: given directly, and by mappings |
//! | `/connections[/{id}]` | GET list, POST [`NewConnection`], GET, PATCH, DELETE |
//! | `/connections/discover` | POST [`DiscoverRequest`] → [`Discovery`] |
//! | `/connections/{id}/claims-preview` | POST [`ClaimsPreviewRequest`] → [`ClaimsPreview`] |
//! | `/connections/{id}/trials[/{trial}]` | GET list, POST, GET [`Trial`] |
//! | `/connections/{id}/health` | GET [`ConnectionHealth`] |
//! | `/connection-presets` | GET list of [`PresetInfo`] |
//! | `/bindings[/{id}]` | GET list `?account=&connection=`, POST [`NewBindings`] → `Page<Binding>`, PATCH [`BindingsChange`] → `Page<Binding>`; GET, PATCH, DELETE |
//! | `/connection-migrations[/{id}]` | GET list, POST [`NewConnectionMigration`], GET; POST `cut-over` [`CutOver`], `roll-back`, `complete` |
//! | `/connection-migrations/{id}/links` | GET list [`ConnectionLink`], POST [`DecideLink`]; POST `links/approve-all` |
//! | `/users[/{id}]` | GET list `?q=`, GET, PATCH [`UserSpec`] |
//! | `/sessions[/{id}]` | GET list `?user=`, DELETE |
//! | `/groups[/{id}]`, `/policies[/{id}]`, `/apps[/{id}]` | GET list `?account=`, POST, GET, PATCH, DELETE |
//! | `/hosts[/{id}]` | GET list `?account=`, POST [`NewHost`], GET, PATCH [`HostSpec`], DELETE |
//! | `/policies/test` | POST [`PolicyTest`] → [`PolicyTestResult`] |
//! | `/groups/{id}/members`, `/apps/{id}/policy-warnings` | GET list [`GroupMember`], [`RuleWarning`] |
//! | `/clients[/{id}]` | GET list `?app=&state=`, POST [`NewClient`], GET, PATCH [`ClientSpec`], DELETE |
//! | `/grants[/{id}]` | GET list `?user=&client=&app=&state=`, GET, DELETE (revoke) |
//! | `/agent-attempts[/{id}]`, `/agent-attempts/{id}/remedy` | GET list `?app=&client=&user=&state=&since=&request=`, GET [`AgentAttemptDetail`]; POST [`CarryOutRemedy`] |
//! | `/api-tokens[/{id}]` | GET list `?account=`, POST [`NewApiToken`] → [`CreatedApiToken`], GET, PATCH [`ApiTokenSpec`], DELETE |
//! | `/api-tokens/{id}/roll` | POST [`RollApiToken`] → [`CreatedApiToken`] |
//! | `/service-tokens[/{id}]` | GET list `?account=`, POST [`NewServiceToken`] → [`ServiceTokenWithSecret`], GET, PATCH [`ServiceTokenSpec`], DELETE |
//! | `/service-tokens/{id}/rotate` | POST [`Rotation`] → [`ServiceTokenWithSecret`] |
//! | `/webhooks[/{id}]` | GET list `?account=`, POST [`NewWebhook`] → [`WebhookWithSecret`], GET, PATCH [`WebhookSpec`], DELETE |
//! | `/webhooks/{id}/rotate-secret`, `/webhooks/{id}/test` | POST [`Rotation`] → [`WebhookWithSecret`]; POST → [`WebhookDeliveryDetail`] |
//! | `/webhooks/{id}/deliveries[/{delivery}]`, `…/{delivery}/replay` | GET list `?state=`, GET [`WebhookDeliveryDetail`]; POST |
//! | `/signing-keys`, `/signing-keys/rotate` | GET list, POST |
//! | `/audit`, `/audit/{id}` | GET list with filters [`AuditEvent`], GET |
//! | `/audit/export` | GET `?format=ndjson|csv` + the same filters, streamed |
//! | `/overview` | GET [`Overview`] |
//!
//! Lists take `?limit=` (1 to 200, 50 if absent) and `?cursor=`; writes take `?dry_run=true`.
//! Audit filters: `account, user, client, grant, app, action, outcome, tool, ip, request, from, to, q`.

mod address;
mod agent;
mod agent_attempt;
mod app;
mod audit;
mod binding;
mod catalogue;
mod connection;
mod document;
mod factor;
mod host;
mod id;
mod impact;
mod invitation;
mod member;
mod migration;
mod org;
mod overview;
mod person;
mod policy;
mod preset;
mod problem;
mod provider;
mod service_token;
mod time;
mod token;
mod visible;
mod webhook;

pub use address::*;
pub use agent::*;
pub use agent_attempt::*;
pub use app::*;
pub use audit::*;
pub use binding::*;
pub use catalogue::*;
pub use connection::*;
pub use document::*;
pub use factor::*;
pub use host::*;
pub use id::*;
pub use impact::*;
pub use invitation::*;
pub use member::*;
pub use migration::*;
pub use org::*;
pub use overview::*;
pub use person::*;
pub use policy::*;
pub use preset::*;
pub use problem::*;
pub use provider::*;
pub use service_token::*;
pub use time::*;
pub use token::*;
pub use visible::*;
pub use webhook::*;

/// Header in which the dashboard repeats the session's CSRF token.
pub const CSRF_HEADER: &str = "x-csrf-token";

const fn yes() -> bool {
    true
}

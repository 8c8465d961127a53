//! A ticket server: the demo's `mcp` origin. A plain MCP server over streamable HTTP that knows nothing of OAuth.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::routing::get;
use http::request::Parts;
use rmcp::handler::server::router::tool::ToolRouter;
use rmcp::handler::server::tool::{Extension, ToolCallContext};
use rmcp::handler::server::wrapper::Parameters;
use rmcp::model::{CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock};
use rmcp::schemars::JsonSchema;
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, tool, tool_handler, tool_router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::assertion::{self, Claims, Verifier};

/// What the ticket server is told at its start.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How the assertion that `whoami` shows is verified; without it, it is shown as it came.
    pub assertion: Option<assertion::Config>,
    /// `Host` values (with or without a port) that are served besides loopback: those under which the gateway
    /// publishes this server, when it forwards the public host. Others are refused (DNS rebinding).
    pub public_hosts: Vec<String>,
    /// A file that gets one line for each `tools/call`, on disk before the tool runs.
    pub journal: Option<PathBuf>,
}

/// The ticket server's routes: `/mcp` and `/healthz`. MCP sessions end with `shutdown`.
///
/// # Errors
/// When the journal cannot be opened or the client that fetches the assertion keys cannot be built.
pub fn router(config: Config, shutdown: CancellationToken) -> anyhow::Result<Router> {
    let journal = config
        .journal
        .map(|path| OpenOptions::new().create(true).append(true).open(path))
        .transpose()?
        .map(|file| Arc::new(Mutex::new(file)));
    let tickets = [
        ("The anvil press squeaks", "Twice a minute since Monday."),
        (
            "Magnet warehouse is out of labels",
            "The last roll went on Friday.",
        ),
        ("Tunnel paint is the wrong black", "It should look like a tunnel."),
    ];
    let tickets = (1..)
        .zip(tickets)
        .map(|(number, (title, text))| (number, Ticket::open(number, title, text)));
    let desk = Desk {
        tool_router: Desk::tool_router(),
        tickets: Arc::new(Mutex::new(tickets.collect())),
        verifier: config.assertion.map(Verifier::new).transpose()?.map(Arc::new),
        journal,
    };
    let mut http = StreamableHttpServerConfig::default();
    http.allowed_hosts.extend(config.public_hosts);
    http.cancellation_token = shutdown;
    let service = StreamableHttpService::new(
        move || Ok(desk.clone()),
        Arc::new(LocalSessionManager::default()),
        http,
    );
    Ok(Router::new()
        .route_service("/mcp", service)
        .route("/healthz", get(|| async { "ok" })))
}

/// Serves the ticket server on `listener` until `shutdown`.
///
/// # Errors
/// As [`router`], or when the listener fails.
pub async fn serve(listener: TcpListener, config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let router = router(config, shutdown.child_token())?;
    crate::server::serve(listener, router, shutdown).await
}

#[derive(Clone, Serialize)]
struct Ticket {
    id: String,
    title: String,
    text: String,
    status: Status,
    /// Who opened it, through which agent, as far as a verified assertion said.
    opened_by: Option<String>,
    opened_through: Option<String>,
    closed_by: Option<String>,
}

impl Ticket {
    fn open(number: u32, title: &str, text: &str) -> Self {
        Self {
            id: format!("T-{number}"),
            title: title.to_owned(),
            text: text.to_owned(),
            status: Status::Open,
            opened_by: None,
            opened_through: None,
            closed_by: None,
        }
    }
}

/// Whether a ticket still waits for somebody.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(crate = "rmcp::schemars")]
enum Status {
    Open,
    Closed,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct ListTickets {
    /// Only tickets with this status.
    status: Option<Status>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct OneTicket {
    /// The ticket's id, such as T-1.
    id: String,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "rmcp::schemars")]
struct NewTicket {
    /// One line that says what is wrong.
    title: String,
    /// More about it.
    #[serde(default)]
    text: String,
}

/// The server's state; its clones share it, one for each MCP session.
#[derive(Clone)]
struct Desk {
    tool_router: ToolRouter<Self>,
    tickets: Arc<Mutex<BTreeMap<u32, Ticket>>>,
    verifier: Option<Arc<Verifier>>,
    journal: Option<Arc<Mutex<File>>>,
}

#[tool_router]
impl Desk {
    /// Lists the tickets, newest last.
    #[tool(annotations(
        title = "List tickets",
        read_only_hint = true,
        destructive_hint = false,
        open_world_hint = false
    ))]
    async fn list_tickets(&self, Parameters(asked): Parameters<ListTickets>) -> CallToolResult {
        let tickets = self.tickets();
        let wanted: Vec<&Ticket> = tickets
            .values()
            .filter(|ticket| asked.status.is_none_or(|status| status == ticket.status))
            .collect();
        CallToolResult::structured(json!({ "tickets": wanted }))
    }

    /// Shows one ticket.
    #[tool(annotations(
        title = "Show a ticket",
        read_only_hint = true,
        destructive_hint = false,
        open_world_hint = false
    ))]
    async fn get_ticket(&self, Parameters(asked): Parameters<OneTicket>) -> CallToolResult {
        match number(&asked.id).and_then(|number| self.tickets().get(&number).cloned()) {
            Some(ticket) => CallToolResult::structured(json!(ticket)),
            None => no_such_ticket(&asked.id),
        }
    }

    /// Opens a new ticket.
    #[tool(annotations(
        title = "Open a ticket",
        read_only_hint = false,
        destructive_hint = false,
        idempotent_hint = false,
        open_world_hint = false
    ))]
    async fn create_ticket(
        &self,
        Parameters(new): Parameters<NewTicket>,
        Extension(parts): Extension<Parts>,
    ) -> CallToolResult {
        let caller = self.caller(&parts).await;
        let mut tickets = self.tickets();
        let number = tickets.last_key_value().map_or(1, |(number, _)| number + 1);
        let mut ticket = Ticket::open(number, new.title.trim(), &new.text);
        ticket.opened_by = caller.person();
        ticket.opened_through = caller.agent();
        tickets.insert(number, ticket.clone());
        CallToolResult::structured(json!(ticket))
    }

    /// Closes a ticket; closing it again changes nothing.
    #[tool(annotations(
        title = "Close a ticket",
        read_only_hint = false,
        destructive_hint = true,
        idempotent_hint = true,
        open_world_hint = false
    ))]
    async fn close_ticket(
        &self,
        Parameters(asked): Parameters<OneTicket>,
        Extension(parts): Extension<Parts>,
    ) -> CallToolResult {
        let caller = self.caller(&parts).await;
        let mut tickets = self.tickets();
        let Some(ticket) = number(&asked.id).and_then(|number| tickets.get_mut(&number)) else {
            return no_such_ticket(&asked.id);
        };
        if ticket.status == Status::Open {
            ticket.status = Status::Closed;
            ticket.closed_by = caller.person();
        }
        CallToolResult::structured(json!(ticket))
    }

    /// Tells who is asking through which agent, as the gateway's assertion says.
    #[tool(annotations(
        title = "Who am I",
        read_only_hint = true,
        destructive_hint = false,
        open_world_hint = false
    ))]
    async fn whoami(&self, Extension(parts): Extension<Parts>) -> CallToolResult {
        let caller = self.caller(&parts).await;
        CallToolResult::structured(json!({
            "verified": caller.verified,
            "user": caller.claim("sub"),
            "email": caller.claim("email"),
            "agent": caller.agent(),
            "claims": caller.claims,
            "refusal": caller.refusal,
        }))
    }
}

#[tool_handler(
    router = self.tool_router,
    name = "acme-tickets",
    instructions = "Acme's tickets: list, read, open and close them."
)]
impl ServerHandler for Desk {
    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.record(&request, &context).await.map_err(|error| {
            tracing::error!(%error, "the journal cannot be written");
            ErrorData::internal_error("the journal cannot be written", None)
        })?;
        self.tool_router
            .call(ToolCallContext::new(self, request, context))
            .await
    }
}

impl Desk {
    fn tickets(&self) -> MutexGuard<'_, BTreeMap<u32, Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a line about a call on disk. What comes after may be cut short at any moment; the line stays.
    async fn record(
        &self,
        request: &CallToolRequestParams,
        context: &RequestContext<RoleServer>,
    ) -> anyhow::Result<()> {
        let Some(journal) = self.journal.clone() else {
            return Ok(());
        };
        let request_id = context
            .extensions
            .get::<Parts>()
            .and_then(|parts| parts.headers.get("x-request-id"))
            .map(|id| String::from_utf8_lossy(id.as_bytes()));
        let mut line = serde_json::to_vec(&json!({ "request_id": request_id, "tool": request.name }))?;
        line.push(b'\n');
        tokio::task::spawn_blocking(move || {
            let mut file = journal.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line)?;
            file.sync_data()
        })
        .await??;
        Ok(())
    }

    async fn caller(&self, parts: &Parts) -> Caller {
        let (claims, verified) = match &self.verifier {
            Some(verifier) => (verifier.verify(&parts.headers).await, true),
            None => (assertion::read_unverified(&parts.headers), false),
        };
        match claims {
            Ok(claims) => Caller {
                verified,
                claims: Some(claims),
                refusal: None,
            },
            Err(refusal) => Caller {
                verified: false,
                claims: None,
                refusal: Some(refusal.to_string()),
            },
        }
    }
}

/// Who called, as far as the assertion tells.
struct Caller {
    verified: bool,
    claims: Option<Claims>,
    refusal: Option<String>,
}

impl Caller {
    fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.as_ref()?.get(name)
    }

    fn person(&self) -> Option<String> {
        self.claim("email")
            .or_else(|| self.claim("sub"))?
            .as_str()
            .map(str::to_owned)
    }

    /// The client that acts for the person (RFC 8693, section 4.1).
    fn agent(&self) -> Option<String> {
        self.claim("act")?.get("sub")?.as_str().map(str::to_owned)
    }
}

fn number(id: &str) -> Option<u32> {
    id.strip_prefix("T-")?.parse().ok()
}

fn no_such_ticket(id: &str) -> CallToolResult {
    CallToolResult::error(vec![ContentBlock::text(format!("There is no ticket {id:?}."))])
}

//! `chatelaine audit`: the log, as the API gives it.

use crate::api::{Api, Call, segment, with_query};
use crate::failure::{Failure, Outcome};
use crate::node::Node;
use crate::output::{self, Form};
use crate::resources::Column;
use crate::rest::identify;
use crate::surroundings::Surroundings;
use futures_util::StreamExt as _;
use http::Method;
use serde_json::Map;
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// Look at the audit log through the API.
#[derive(clap::Subcommand, Debug)]
pub enum Audit {
    /// List events, newest first.
    #[command(after_help = "\
Examples:
  chatelaine audit list --outcome denied --limit 20
  chatelaine audit list --account Production --action binding. -o yaml
  chatelaine audit list --filter tool=create_ticket --from 2026-11-01T00:00:00Z")]
    List(List),
    /// Show one event.
    Get {
        /// The event's identifier, `evt_…`.
        id: String,
        /// The form of the result.
        #[arg(short, long, value_name = "FORM", default_value = "yaml")]
        output: Form,
        /// Which server.
        #[command(flatten)]
        profile: Profile,
    },
    /// Write events to a file, oldest first.
    #[command(after_help = "\
Examples:
  chatelaine audit export --out log.ndjson
  chatelaine audit export --format csv --from 2026-11-01T00:00:00Z --to 2026-12-01T00:00:00Z > november.csv
  chatelaine audit export --filter after=12345    goes on behind an export that broke off")]
    Export(Export),
    /// Show the newest events, and with -f those to come.
    #[command(after_help = "\
Examples:
  chatelaine audit tail -f
  chatelaine audit tail -f --app Wiki --outcome denied
  chatelaine audit tail -f -o json | jq .actor.email

Reading the log is logged, too; following leaves these events out.")]
    Tail(Tail),
}

/// Which server.
#[derive(clap::Args, Debug)]
pub struct Profile {
    /// The profile to use instead of the current one.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

/// Which events.
#[derive(clap::Args, Debug)]
pub(crate) struct Filters {
    /// Only of this account.
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Only by this person, or on their behalf.
    #[arg(long, value_name = "E-MAIL")]
    user: Option<String>,
    /// Only about this app.
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only this action, or all that begin so when it ends in `.`.
    #[arg(long)]
    action: Option<String>,
    /// Only with this outcome.
    #[arg(long)]
    outcome: Option<String>,
    /// From this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Any other filter of the API; can be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    filter: Vec<String>,
}

/// `list`.
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    filters: Filters,
    /// How many at the most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// The form of the result.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
    #[command(flatten)]
    profile: Profile,
}

/// `export`.
#[derive(clap::Args, Debug)]
pub struct Export {
    #[command(flatten)]
    filters: Filters,
    /// `ndjson` or `csv`.
    #[arg(long, default_value = "ndjson")]
    format: String,
    /// The file to write; standard output if absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    profile: Profile,
}

/// `tail`.
#[derive(clap::Args, Debug)]
pub struct Tail {
    #[command(flatten)]
    filters: Filters,
    /// How many of those that there are.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: usize,
    /// Go on with events as they come.
    #[arg(short, long)]
    follow: bool,
    /// Seconds between questions.
    #[arg(long, default_value_t = 3)]
    every: u64,
    /// `table` for a line each, `json` for an object each.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
    #[command(flatten)]
    profile: Profile,
}

const COLUMNS: &[Column] = &[
    ("TIME", &["time"]),
    ("OUTCOME", &["outcome"]),
    ("ACTION", &["action"]),
    (
        "ACTOR",
        &[
            "actor.email",
            "actor.token_name",
            "actor.service_token_name",
            "actor.kind",
        ],
    ),
    ("AGENT", &["actor.client_name"]),
    ("TARGET", &["target.name", "target.id"]),
    ("REASON", &["reason"]),
    ("ID", &["id"]),
];

impl Audit {
    pub(crate) fn profile(&self) -> Option<&str> {
        let profile = match self {
            Self::List(args) => &args.profile,
            Self::Get { profile, .. } => profile,
            Self::Export(args) => &args.profile,
            Self::Tail(args) => &args.profile,
        };
        profile.profile.as_deref()
    }
}

impl Filters {
    async fn query(&self, api: &Api) -> Outcome<Vec<(String, String)>> {
        let mut query = Vec::new();
        for (name, resource, value) in [
            ("account", "accounts", &self.account),
            ("user", "users", &self.user),
            ("app", "apps", &self.app),
        ] {
            if let Some(value) = value {
                let id = identify(api, resource, value, &Map::new()).await?;
                query.push((name.to_owned(), id));
            }
        }
        for (name, value) in [
            ("action", &self.action),
            ("outcome", &self.outcome),
            ("from", &self.from),
            ("to", &self.to),
        ] {
            query.extend(value.clone().map(|value| (name.to_owned(), value)));
        }
        for pair in &self.filter {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--filter takes KEY=VALUE, not {pair}")))?;
            query.push((key.to_owned(), value.to_owned()));
        }
        Ok(query)
    }
}

pub(crate) async fn run(command: Audit, api: &Api, around: &mut Surroundings) -> Outcome {
    match command {
        Audit::List(args) => {
            let query = args.filters.query(api).await?;
            let items = api.list("audit", &query, Some(args.limit)).await?;
            match args.output {
                Form::Table => around.print(output::table(&items, COLUMNS, &HashMap::new())),
                form => around.print(output::data(&Node::list(items), form)),
            }
        }
        Audit::Get { id, output, .. } => {
            let reply = api.get(format!("audit/{}", segment(&id))).await?;
            around.print(output::data(&reply.body, output))
        }
        Audit::Export(args) => export(args, api, around).await,
        Audit::Tail(args) => tail(args, api, around).await,
    }
}

async fn export(args: Export, api: &Api, around: &mut Surroundings) -> Outcome {
    let mut query = args.filters.query(api).await?;
    query.push(("format".into(), args.format));
    let call = Call::new(Method::GET, with_query("audit/export", &query));
    let mut stream = api.open(&call).await?.bytes_stream();
    let mut file: Box<dyn std::io::Write + Send> = match &args.out {
        Some(path) => {
            let file = std::fs::File::create(path);
            let file = file.map_err(|e| Failure::error(format!("cannot write {}: {e}", path.display())))?;
            Box::new(std::io::BufWriter::new(file))
        }
        None => std::mem::replace(&mut around.out, Box::new(std::io::sink())),
    };
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| {
            Failure::error("the export broke off: go on behind its last event with --filter after=SEQ")
        })?;
        file.write_all(&piece)?;
    }
    file.flush()?;
    if args.out.is_none() {
        around.out = file;
    }
    Ok(())
}

async fn tail(args: Tail, api: &Api, around: &mut Surroundings) -> Outcome {
    let query = args.filters.query(api).await?;
    // From here on everything comes, whatever of it is shown of the past.
    let newest = api.list("audit", &[], Some(1)).await?;
    let mut after = newest.first().and_then(seq).unwrap_or_default();
    let mut items = api.list("audit", &query, Some(args.lines)).await?;
    items.reverse();
    for item in &items {
        around.print(line(item, args.output))?;
    }
    if !args.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(Duration::from_secs(args.every.max(1))).await;
        let mut query = query.clone();
        query.push(("after".into(), after.to_string()));
        let call = Call::new(Method::GET, with_query("audit/export", &query));
        let response = api.open(&call).await?;
        let text = response.text().await;
        let text = text.map_err(|_| Failure::error("the answer ended in the middle"))?;
        for event in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Node>(line).ok())
        {
            after = after.max(seq(&event).unwrap_or_default());
            let reading = event.get("action").and_then(Node::as_str);
            if !reading.is_some_and(|action| action.starts_with("audit.")) {
                around.print(line(&event, args.output))?;
            }
        }
    }
}

fn seq(event: &Node) -> Option<i64> {
    event.get("seq")?.to_value().as_i64()
}

fn line(event: &Node, form: Form) -> String {
    match form {
        Form::Table => {
            let table = output::table(std::slice::from_ref(event), COLUMNS, &HashMap::new());
            let row = table.lines().nth(1).unwrap_or_default();
            format!("{row}\n")
        }
        Form::Json => format!("{}\n", event.to_value()),
        Form::Yaml => format!("---\n{}", output::data(event, form)),
    }
}

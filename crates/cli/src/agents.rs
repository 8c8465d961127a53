//! `chatelaine agents attempts`: how agents got in, where they got stuck, and the setting that mends it.

use crate::api::{Api, Call, segment, with_query};
use crate::failure::{Failure, Outcome};
use crate::node::Node;
use crate::output::{self, Form, Paint, clean, paint};
use crate::resources::Column;
use crate::rest::identify;
use crate::surroundings::Surroundings;
use http::Method;
use serde_json::{Map, json};
use std::collections::HashMap;

/// Agents on their way in.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Agents {
    /// List agents' attempts to get in, newest first; with an identifier, one of them step by step.
    #[command(after_help = "\
Examples:
  chatelaine agents attempts --state failed
  chatelaine agents attempts --app Tickets --state stopped
  chatelaine agents attempts --request 0193f0c2…      the request id of an error page
  chatelaine agents attempts aat_0193…
  chatelaine agents attempts aat_0193… --fix --dry-run
  chatelaine agents attempts aat_0193… --fix=approve_client")]
    Attempts(Attempts),
}

/// `attempts`.
#[derive(clap::Args, Debug)]
pub(crate) struct Attempts {
    /// The attempt, `aat_…`; all are listed if absent.
    id: Option<String>,
    /// Carry out the setting that mends it: the only one, or the one that is named.
    #[arg(long, value_name = "KIND", num_args = 0..=1, require_equals = true, default_missing_value = "", requires = "id")]
    fix: Option<String>,
    /// Show what the fix would change, and change nothing.
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// Only at this app.
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only of this person.
    #[arg(long, value_name = "E-MAIL")]
    user: Option<String>,
    /// Only of this client, or with this `client_id`.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only in this state: `going_on`, `in`, `failed`, `stopped`.
    #[arg(long)]
    state: Option<String>,
    /// Only with a step since this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only the one with this request id.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// How many at the most.
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// The form of the result.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
    /// The profile to use instead of the current one.
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
}

const COLUMNS: &[Column] = &[
    ("TIME", &["last_at"]),
    ("STATE", &["state"]),
    ("STEP", &["step"]),
    ("AGENT", &["client_name", "software", "client_id"]),
    ("SUMMARY", &["summary"]),
    ("ID", &["id"]),
];

pub(crate) async fn run(command: Agents, api: &Api, around: &mut Surroundings) -> Outcome {
    let Agents::Attempts(args) = command;
    match (&args.id, &args.fix) {
        (None, _) => list(args, api, around).await,
        (Some(id), None) => {
            let reply = api.get(format!("agent-attempts/{}", segment(id))).await?;
            match args.output {
                Form::Table => {
                    let colours = around.colours();
                    around.print(timeline(&reply.body, colours))
                }
                form => around.print(output::data(&reply.body, form)),
            }
        }
        (Some(id), Some(kind)) => fix(&args, (id, kind), api, around).await,
    }
}

async fn list(args: Attempts, api: &Api, around: &mut Surroundings) -> Outcome {
    let mut query = Vec::new();
    for (name, resource, value) in [("app", "apps", &args.app), ("user", "users", &args.user)] {
        if let Some(value) = value {
            query.push((
                name.to_owned(),
                identify(api, resource, value, &Map::new()).await?,
            ));
        }
    }
    for (name, value) in [
        ("client", &args.client),
        ("state", &args.state),
        ("since", &args.since),
        ("request", &args.request),
    ] {
        query.extend(value.clone().map(|value| (name.to_owned(), value)));
    }
    let items = api.list("agent-attempts", &query, Some(args.limit)).await?;
    match args.output {
        Form::Table => around.print(output::table(&items, COLUMNS, &HashMap::new())),
        form => around.print(output::data(&Node::list(items), form)),
    }
}

/// One attempt for people: what it came to, its steps, what would mend it.
fn timeline(attempt: &Node, colours: bool) -> String {
    let text = |node: &Node, name: &str| node.get(name).and_then(Node::as_str).map(clean);
    let mut out = String::new();
    let mut line = |line: String| {
        out.push_str(&line);
        out.push('\n');
    };
    let summary = text(attempt, "summary").unwrap_or_default();
    line(paint(colours, Paint::Bold, &summary));
    if let Some(fix) = text(attempt, "fix") {
        line(fix);
    }
    if attempt
        .get("ambiguous")
        .is_some_and(|is| is.to_value() == json!(true))
    {
        let said = "Several agents that looked the same were on their way at once: steps may be missing or another one's.";
        line(paint(colours, Paint::Yellow, said));
    }
    for step in attempt.get("steps").map_or(&[][..], Node::items) {
        let failed = text(step, "outcome").as_deref() == Some("failed");
        let (sign, colour) = if failed {
            ("✗", Paint::Red)
        } else {
            ("✓", Paint::Green)
        };
        let count = step
            .get("count")
            .and_then(|count| count.to_value().as_i64())
            .unwrap_or(1);
        let times = if count > 1 {
            format!("  ×{count}")
        } else {
            String::new()
        };
        let at: String = text(step, "at").unwrap_or_default().chars().take(19).collect();
        let kind = text(step, "kind").unwrap_or_default();
        let reason = text(step, "reason")
            .map(|reason| format!("  {reason}"))
            .unwrap_or_default();
        line(format!(
            "{} {at}  {kind}{reason}{times}",
            paint(colours, colour, sign)
        ));
        for name in ["expected", "received"] {
            if let Some(said) = text(step, name) {
                line(format!("    {name}: {said}"));
            }
        }
    }
    for remedy in attempt.get("remedies").map_or(&[][..], Node::items) {
        let (kind, label) = (text(remedy, "kind"), text(remedy, "label"));
        line(format!(
            "--fix={}  {}",
            kind.unwrap_or_default(),
            label.unwrap_or_default()
        ));
    }
    out
}

async fn fix(args: &Attempts, (id, kind): (&str, &str), api: &Api, around: &mut Surroundings) -> Outcome {
    let path = format!("agent-attempts/{}", segment(id));
    let attempt = api.get(path.as_str()).await?.body;
    let remedies = attempt.get("remedies").map_or(&[][..], Node::items);
    let kind_of = |remedy: &Node| remedy.get("kind").and_then(Node::as_str).map(ToOwned::to_owned);
    let chosen = match (kind, remedies) {
        (_, []) => return Err(Failure::error("no setting mends this attempt")),
        ("", [only]) => Some(only),
        ("", _) => {
            let kinds: Vec<_> = remedies.iter().filter_map(kind_of).collect();
            let text = format!("several settings would mend it: --fix={}", kinds.join(", --fix="));
            return Err(Failure::usage(text));
        }
        (kind, remedies) => remedies
            .iter()
            .find(|remedy| kind_of(remedy).as_deref() == Some(kind)),
    };
    let chosen = chosen.ok_or_else(|| Failure::usage(format!("this attempt has no remedy {kind}")))?;
    // The resource is changed as it was just read.
    let tag = chosen.get("etag").and_then(Node::as_str);
    let label = chosen.get("label").and_then(Node::as_str);
    let body = json!({ "kind": kind_of(chosen), "label": label });
    let dry = args.dry_run.then(|| ("dry_run".to_owned(), "true".to_owned()));
    let query: Vec<_> = dry.into_iter().collect();
    let call = Call::new(Method::POST, with_query(&format!("{path}/remedy"), &query));
    let reply = api.send(call.body(&body).if_match(tag)).await?;
    if args.dry_run {
        return output::preview(&reply.body, args.output, around);
    }
    match args.output {
        Form::Table => {
            let said = |name: &str| reply.body.get(name).and_then(Node::as_str).map(clean);
            let (label, target) = (
                said("label").unwrap_or_default(),
                said("target").unwrap_or_default(),
            );
            around.print(format!("{label}: done ({target}). Have the agent try again.\n"))
        }
        form => around.print(output::data(&reply.body, form)),
    }
}

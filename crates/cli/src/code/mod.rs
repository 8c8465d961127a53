//! The organisation as code: `export`, `diff`, `apply`.

pub(crate) mod export;

mod apply;
mod document;
mod kind;
mod names;
mod plan;
mod refs;
mod resolve;
mod show;
mod state;

use crate::api::{Api, Call, Refusal};
use crate::failure::{Code, Failure, Outcome};
use crate::node::Node;
use crate::output::Form;
use crate::surroundings::{Surroundings, write_private};
use crate::yaml;
use apply::{Applier, Credential, Done, Secrets};
use document::{Document, Mistake};
use futures_util::{StreamExt as _, stream};
use http::Method;
use plan::{Act, NoPlan, Options, Plan, Step};
use serde_json::{Value, json};
use show::{Foreseen, Style};
use state::State;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Steps whose impact is asked for at the most, and how many at once.
const FORESEEN: usize = 100;
const AT_ONCE: usize = 8;

/// `chatelaine diff`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  chatelaine diff -f org.yaml
  chatelaine diff -f org.yaml --prune && echo \"the server is exactly so\"

Exit codes: 0 no differences, 2 differences (or a mistake in the file), others as everywhere.
Nothing is changed, and nothing but reading is done.")]
pub(crate) struct Diff {
    /// The file; `-` for standard input.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,
    /// What the file does not describe counts as a difference.
    #[arg(long)]
    prune: bool,
    /// `table` for people, `json` or `yaml` for programs.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
}

/// `chatelaine apply`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  chatelaine apply -f org.yaml
      shows the plan with who gains and loses access, asks, then does it
  chatelaine apply -f org.yaml --dry-run
  OKTA_CLIENT_SECRET=… chatelaine apply -f org.yaml --yes --credentials made.yaml
  chatelaine apply -f org.yaml --replace-secret Okta

Things are found by name; `previously: OLD NAME` beside `name` renames. What the file does not say of a thing
has its default. What the file does not describe stays, unless --prune is given. Client secrets are read from
the variables that the file names, from --secrets, or asked for, and only if the server has none yet.
Applied twice, the second time changes nothing.")]
pub(crate) struct Apply {
    /// The file; `-` for standard input.
    #[arg(short = 'f', long, value_name = "FILE")]
    file: PathBuf,
    /// Do not ask. Without a terminal nothing is done unless this is given.
    #[arg(long, short = 'y')]
    yes: bool,
    /// Also delete what the file does not describe. A file without `organisation` describes nothing but the
    /// accounts that it names.
    #[arg(long)]
    prune: bool,
    /// Show the plan and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Values for `from_env` names that are not in the environment: a YAML map.
    #[arg(long, value_name = "FILE")]
    secrets: Option<PathBuf>,
    /// Send the client secret of this connection, although the server has one; can be given several times.
    #[arg(long, value_name = "CONNECTION")]
    replace_secret: Vec<String>,
    /// New file for credentials that the server makes (service tokens, webhooks, clients) and shows once.
    #[arg(long, value_name = "FILE")]
    credentials: Option<PathBuf>,
    /// `table` for people, `json` or `yaml` for programs.
    #[arg(short, long, value_name = "FORM", default_value = "table")]
    output: Form,
}

/// Every mistake, each with its place: what an editor jumps to.
fn mistakes(file: &Path, mistakes: &[Mistake]) -> Failure {
    let lines: Vec<_> = mistakes
        .iter()
        .map(|m| format!("{}:{}: {}", file.display(), m.at, m.detail))
        .collect();
    Failure::usage(lines.join("\n"))
}

fn open(file: &Path, around: &mut Surroundings) -> Outcome<Document> {
    let text = around.read_file(file)?;
    document::read(&text).map_err(|found| mistakes(file, &found))
}

async fn make_plan(
    api: &Api,
    state: &mut State,
    (file, document): (&Path, Document),
    options: &Options<'_>,
) -> Outcome<Plan> {
    plan::plan(api, state, document, options)
        .await
        .map_err(|none| match none {
            NoPlan::Mistakes(found) => mistakes(file, &found),
            NoPlan::Failure(failure) => failure,
        })
}

fn machine_text(value: &Value, form: Form) -> String {
    let node: Node = serde_json::from_value(value.clone()).unwrap_or_else(|_| Node::list(Vec::new()));
    match form {
        Form::Json => node.to_json() + "\n",
        Form::Yaml | Form::Table => yaml::write(&node),
    }
}

pub(crate) async fn diff(args: Diff, api: &Api, around: &mut Surroundings) -> Outcome {
    let document = open(&args.file, around)?;
    let mut state = State::load(api).await?;
    let options = Options {
        prune: args.prune,
        replace_secrets: &[],
    };
    let plan = make_plan(api, &mut state, (&args.file, document), &options).await?;
    let names = plan.names(&state);
    let nothing = HashMap::new();
    if args.output == Form::Table {
        let style = Style {
            colours: around.colours(),
            whole: true,
        };
        around.print(show::text(&plan, &names, &nothing, style))?;
        for note in plan.notes.iter().cloned().chain(show::kept(&plan, &names)) {
            around.note(note);
        }
    } else {
        around.print(machine_text(&show::machine(&plan, &names, &nothing), args.output))?;
    }
    if plan.steps.is_empty() {
        around.note("No differences.");
        return Ok(());
    }
    around.note(format!("{}.", show::summary(&plan)));
    Err(Failure::new(Code::Usage, ""))
}

pub(crate) async fn apply(args: Apply, api: &Api, around: &mut Surroundings) -> Outcome {
    let document = open(&args.file, around)?;
    let given = match &args.secrets {
        Some(file) => read_secrets(file, around)?,
        None => Secrets::new(),
    };
    let mut state = State::load(api).await?;
    let options = Options {
        prune: args.prune,
        replace_secrets: &args.replace_secret,
    };
    let plan = make_plan(api, &mut state, (&args.file, document), &options).await?;
    let names = plan.names(&state);
    let foreseen = foresee(api, &plan).await;
    let people = args.output == Form::Table;
    if people {
        let style = Style {
            colours: around.colours(),
            whole: false,
        };
        around.print(show::text(&plan, &names, &foreseen, style))?;
    }
    for note in plan.notes.iter().cloned().chain(show::kept(&plan, &names)) {
        around.note(note);
    }
    let report = |around: &mut Surroundings, done: &Done| {
        if people {
            return Ok(());
        }
        let mut value = show::machine(&plan, &names, &foreseen);
        value["applied"] = json!(done.titles);
        around.print(machine_text(&value, args.output))
    };
    if plan.steps.is_empty() {
        around.note("Nothing to do: the server is as the file says.");
        return report(around, &Done::default());
    }
    if foreseen.len() == FORESEEN {
        around.note(format!(
            "Who is affected was asked for the first {FORESEEN} changes only."
        ));
    }
    around.note(format!("{}.", show::summary(&plan)));
    if args.dry_run {
        around.note("Dry run: nothing has changed.");
        return report(around, &Done::default());
    }
    let mints = plan.steps.iter().any(apply::mints);
    if mints && args.credentials.is_none() && !around.shows {
        return Err(Failure::usage(
            "the server will make credentials and show them once: say where to keep them, --credentials FILE",
        ));
    }
    if let Some(file) = args.credentials.as_ref().filter(|f| mints && f.exists()) {
        return Err(Failure::usage(format!(
            "{} is there already; credentials go into a new file",
            file.display()
        )));
    }
    if !args.yes {
        if !around.asks {
            return Err(Failure::usage(
                "nobody can be asked here: --yes says that it is meant",
            ));
        }
        let answer = around.ask("Apply? Only `yes` is taken as yes: ")?;
        if answer != "yes" {
            return Err(Failure::usage("Nothing was changed."));
        }
    }
    let secrets = secrets(&plan, given, around)?;
    let mut applier = Applier::new(api, plan.names(&state), secrets);
    let outcome = applier.run(&plan).await;
    let done = applier.done;
    // Also of what was done before a failure: nobody sees them again.
    keep_credentials(&done.credentials, args.credentials.as_deref(), around)?;
    report(around, &done)?;
    match outcome {
        Ok(()) => {
            around.note(format!("Applied: {}.", show::summary(&plan)));
            Ok(())
        }
        Err(mut failure) => {
            let (n, all) = (done.titles.len(), plan.steps.len());
            let mut message = format!("stopped at {}\n", failure.message);
            if done.titles.is_empty() {
                message.push_str("Nothing was changed.");
            } else {
                message.push_str(&format!("Done before it, {n} of {all}:\n"));
                for title in &done.titles {
                    message.push_str(&format!("  {title}\n"));
                }
                message.push_str("Nothing is undone. Apply again to go on where it stopped.");
            }
            failure.message = message;
            Err(failure)
        }
    }
}

/// Asks the server what the steps that decide about access would do.
async fn foresee(api: &Api, plan: &Plan) -> HashMap<String, Foreseen> {
    let ask = |step: &Step| {
        // A body that names new things cannot be asked about before they are there.
        let new =
            step.patch.to_string().contains("_ffffffff") || step.patch.to_string().contains("_fffffffe");
        step.act != Act::Create && step.thing.kind.decides() && !new && step.patch != json!({})
    };
    let asked = plan.steps.iter().filter(|s| ask(s)).take(FORESEEN);
    let answers = asked.map(|step| async move {
        let path = match step.thing.kind {
            kind::Kind::Organisation => "organisation?dry_run=true".to_owned(),
            kind => format!("{}/{}?dry_run=true", kind.path(), step.thing.id),
        };
        let tag = step
            .before
            .as_ref()
            .and_then(|b| b.version)
            .map(|v| format!("\"v{v}\""));
        let call = match step.act {
            Act::Delete => Call::new(Method::DELETE, path),
            _ => Call::new(Method::PATCH, path).body(&step.patch),
        };
        let foreseen = match api.send(call.if_match(tag.as_deref())).await {
            Ok(reply) => Foreseen {
                impact: crate::output::read_impact(&reply.body),
                refused: None,
            },
            // What is deleted may still be used by what is changed before it.
            Err(Refusal::Problem(problem)) if step.act == Act::Delete && problem.status == 409 => {
                Foreseen::default()
            }
            Err(refusal) => {
                let failure = Failure::from(refusal);
                let lines = failure
                    .message
                    .lines()
                    .map(str::trim)
                    .filter(|l| !l.starts_with("request "));
                Foreseen {
                    impact: None,
                    refused: Some(lines.collect::<Vec<_>>().join(" ")),
                }
            }
        };
        (step.thing.id.clone(), foreseen)
    });
    stream::iter(answers).buffer_unordered(AT_ONCE).collect().await
}

fn read_secrets(file: &Path, around: &mut Surroundings) -> Outcome<Secrets> {
    let text = around.read_file(file)?;
    let node = yaml::read(&text)
        .map_err(|e| Failure::usage(format!("{}:{}: {}", file.display(), e.at, e.detail)))?;
    let secrets: Result<Secrets, _> = serde_json::from_value(node.to_value());
    secrets.map_err(|_| Failure::usage(format!("{}: a map of names and texts is wanted", file.display())))
}

/// The values of all secrets that the plan needs: all are there before anything is done.
fn secrets(plan: &Plan, given: Secrets, around: &mut Surroundings) -> Outcome<Secrets> {
    let mut secrets = Secrets::new();
    let mut missing = BTreeSet::new();
    for step in &plan.steps {
        let Some(name) = &step.secret else { continue };
        if secrets.contains_key(name) {
            continue;
        }
        let known = around
            .var(name)
            .map(ToOwned::to_owned)
            .or_else(|| given.get(name).cloned());
        let value = match known {
            Some(value) => value,
            None if around.asks => {
                let question = format!("Client secret of {} ({name}): ", step.thing.key);
                around.ask_secret(&question)?
            }
            None => {
                missing.insert(name.clone());
                continue;
            }
        };
        if value.is_empty() {
            return Err(Failure::usage(format!("{name} is empty; nothing was changed")));
        }
        secrets.insert(name.clone(), value);
    }
    if !missing.is_empty() {
        let missing: Vec<_> = missing.into_iter().collect();
        return Err(Failure::usage(format!(
            "client secrets are missing: set {}, or use --secrets; nothing was changed",
            missing.join(", ")
        )));
    }
    Ok(secrets)
}

fn keep_credentials(made: &[Credential], file: Option<&Path>, around: &mut Surroundings) -> Outcome {
    if made.is_empty() {
        return Ok(());
    }
    let items = made.iter().map(|c| {
        Node::map(vec![
            ("of", Node::text(c.of.clone())),
            ("id", Node::text(c.id.clone())),
            ("secret", Node::text(c.secret.clone())),
        ])
    });
    let text = yaml::write(&Node::list(items.collect()));
    match file {
        Some(file) => {
            let written = write_private(file, &text, false);
            if written.is_ok() {
                around.note(format!("{} credentials are in {}.", made.len(), file.display()));
                return Ok(());
            }
            // Rather seen than lost.
            around.note("The file for credentials cannot be written; they are shown here, and only here:");
            around.note(text);
            written
        }
        None => {
            around.note("Made by the server and shown only now:");
            around.note(text);
            Ok(())
        }
    }
}

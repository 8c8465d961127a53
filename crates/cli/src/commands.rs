//! The tree of commands, made from the table of resources, and what runs them.

use crate::agents;
use crate::api::{Api, Call};
use crate::audit::{self, Audit};
use crate::code;
use crate::failure::{Code, Failure, Outcome};
use crate::output::{Form, clean};
use crate::profile;
use crate::resources::{Action, RESOURCES, Resource, Target, Verb};
use crate::rest::Run;
use crate::surroundings::Surroundings;
use crate::topics;
use clap::{Arg, ArgAction, ArgMatches, Args as _, FromArgMatches, Subcommand, value_parser};
use http::Method;
use std::path::PathBuf;

/// A command of the API's client, as it was given.
#[derive(Debug)]
pub struct Command {
    name: String,
    args: ArgMatches,
}

impl FromArgMatches for Command {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((name, args)) => Ok(Self {
                name: name.to_owned(),
                args: args.clone(),
            }),
            None => Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand)),
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Command {
    fn augment_subcommands(root: clap::Command) -> clap::Command {
        let root = root.subcommands(general()).subcommand(organisation());
        RESOURCES
            .iter()
            .fold(root, |root, resource| root.subcommand(commands(resource)))
    }

    fn augment_subcommands_for_update(root: clap::Command) -> clap::Command {
        Self::augment_subcommands(root)
    }

    fn has_subcommand(name: &str) -> bool {
        let known = general().into_iter().chain([organisation()]);
        known.map(|c| c.get_name().to_owned()).any(|known| known == name)
            || RESOURCES.iter().any(|r| r.name == name)
    }
}

/// Descriptions come after arguments: what the arguments are made of brings one of its own.
fn command(name: &'static str) -> clap::Command {
    clap::Command::new(name)
}

/// What is no resource.
fn general() -> Vec<clap::Command> {
    let name = || {
        Arg::new("name")
            .value_name("PROFILE")
            .help("The profile; the current one if absent")
    };
    let profile = profile_arg;
    vec![
        profile::Login::augment_args(command("login")).about("Remember a server and an API token"),
        command("logout")
            .about("Forget a server and its token")
            .arg(name()),
        command("whoami")
            .about("Say which server, and as whom")
            .arg(profile()),
        profile::Context::augment_subcommands(command("context"))
            .about("Choose among remembered servers")
            .subcommand_required(true),
        code::export::Export::augment_args(command("export"))
            .about("Write the organisation as one YAML file")
            .arg(profile()),
        code::Diff::augment_args(command("diff"))
            .about("Compare a file with the server")
            .arg(profile()),
        code::Apply::augment_args(command("apply"))
            .about("Make the server as a file says")
            .arg(profile()),
        agents::Agents::augment_subcommands(command("agents"))
            .about("See how agents got in, and where they got stuck")
            .subcommand_required(true)
            .arg_required_else_help(true),
        command("completion")
            .about("Print a completion script for a shell")
            .arg(
                Arg::new("shell")
                    .required(true)
                    .value_parser(value_parser!(clap_complete::Shell)),
            )
            .after_help(
                "Examples:\n  source <(chatelaine completion bash)\n  \
                 chatelaine completion zsh > \"${fpath[1]}/_chatelaine\"\n  \
                 chatelaine completion fish > ~/.config/fish/completions/chatelaine.fish",
            ),
        command("topics")
            .about("Read about what commands have in common")
            .arg(
                Arg::new("topic")
                    .value_parser(topics::NAMES)
                    .help("Which; all are listed if absent"),
            )
            .after_help(topics::list()),
    ]
}

fn profile_arg() -> Arg {
    Arg::new("profile")
        .long("profile")
        .value_name("PROFILE")
        .help("The profile to use instead of the current one")
}

fn output_arg(usual: &'static str) -> Arg {
    Arg::new("output")
        .short('o')
        .long("output")
        .value_name("FORM")
        .value_parser(value_parser!(Form))
        .help(format!("The form of the result [default: {usual}]"))
}

fn flag(name: &'static str, long: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(long).action(ArgAction::SetTrue).help(help)
}

fn named(name: &'static str, noun: &str, names: bool) -> Arg {
    let help = if names {
        format!("The {noun}: its identifier or name")
    } else {
        format!("The {noun}: its identifier")
    };
    Arg::new(name).required(true).help(help)
}

fn account_arg(help: &'static str) -> Arg {
    Arg::new("account").long("account").value_name("NAME").help(help)
}

fn body_args(command: clap::Command) -> clap::Command {
    command
        .arg(
            Arg::new("file")
                .short('f')
                .long("file")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("YAML or JSON; `-` for standard input"),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Set one value; keys with dots lead inside, values are YAML"),
        )
}

fn write_args(command: clap::Command) -> clap::Command {
    command
        .arg(flag(
            "dry_run",
            "dry-run",
            "Show what would change and who gains or loses access",
        ))
        .arg(output_arg("yaml"))
        .arg(profile_arg())
}

fn if_match() -> Arg {
    Arg::new("if_match")
        .long("if-match")
        .value_name("VERSION")
        .help("Only if it is this version; `*` for any. Otherwise: the version that is there now")
}

/// The commands of one resource.
fn commands(resource: &'static Resource) -> clap::Command {
    let root = clap::Command::new(resource.name)
        .visible_alias(resource.singular)
        .about(resource.about)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .after_help(format!("Examples:\n  {}", resource.examples));
    let root = resource
        .verbs
        .iter()
        .fold(root, |root, verb| root.subcommand(verb_command(resource, *verb)));
    resource.actions.iter().fold(root, |root, action| {
        root.subcommand(action_command(resource, action))
    })
}

fn has_account(resource: &Resource) -> bool {
    resource.filters.iter().any(|(name, _)| *name == "account") || resource.name == "connections"
}

/// Where names are looked up, if they are not the organisation's.
fn lookup_args(mut command: clap::Command, resource: &Resource) -> clap::Command {
    let names = !resource.keys.is_empty();
    command = command.arg(named("name", resource.singular, names));
    if names && has_account(resource) {
        command = command.arg(account_arg("The account, when several have one of this name"));
    }
    if resource.name == "clients" {
        let app = Arg::new("app").long("app").value_name("NAME");
        command = command.arg(app.help("The app, when several have one of this name"));
    }
    command
}

fn verb_command(resource: &'static Resource, verb: Verb) -> clap::Command {
    let noun = resource.singular.replace('-', " ");
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) && !noun.starts_with("us") {
        "an"
    } else {
        "a"
    };
    match verb {
        Verb::List => {
            let command = clap::Command::new("list")
                .about(format!("List {}", resource.name.replace('-', " ")))
                .after_help(format!(
                    "Examples:\n  chatelaine {0} list\n  chatelaine {0} list --all -o json\n\n\
                     More than 200 are shown only if they are asked for: --limit, --all.",
                    resource.name
                ));
            let command = resource.filters.iter().fold(command, |command, (name, of)| {
                let value = if of.is_some() { "NAME" } else { "VALUE" };
                let flag = Arg::new(*name).long(*name).value_name(value);
                command.arg(flag.help(format!("Only with this {name}")))
            });
            list_args(command)
        }
        Verb::Get => {
            let command = clap::Command::new("get").about(format!("Show one {noun}"));
            let command = lookup_args(command, resource)
                .arg(output_arg("yaml"))
                .arg(profile_arg());
            examples(command, resource, &["get {}", "get {} -o json"])
        }
        Verb::Create => {
            let about = format!("Make {article} {noun}");
            let command = clap::Command::new("create").about(about).after_help(format!(
                "Names stand for identifiers in account, connection, app, user and policies.\n\nExamples:\n  {}",
                resource.examples
            ));
            let command = if has_account(resource) {
                command.arg(account_arg("The account that it is to be in"))
            } else {
                command
            };
            write_args(body_args(command))
        }
        Verb::Update => {
            let about =
                format!("Change {article} {noun}: what is not said stays, null brings the default back");
            let command = lookup_args(clap::Command::new("update").about(about), resource);
            let lines = [
                "update {} --set KEY=VALUE --dry-run",
                "update {} -f changes.yaml --if-match 3",
            ];
            write_args(body_args(examples(command, resource, &lines)).arg(if_match()))
        }
        Verb::Delete => {
            let about = format!("Delete {article} {noun}");
            let command = lookup_args(clap::Command::new("delete").about(about), resource);
            let command = examples(command, resource, &["delete {} --dry-run", "delete {}"]);
            write_args(command.arg(if_match()))
        }
    }
}

/// Help: what to type, with `{}` for the name of one.
fn examples(command: clap::Command, resource: &Resource, lines: &[&str]) -> clap::Command {
    let one = match resource.keys.first() {
        Some(&"email") => "ada@example.com",
        Some(_) => "NAME",
        None => "ID",
    };
    let lines = lines
        .iter()
        .map(|line| format!("\n  chatelaine {} {}", resource.singular, line.replace("{}", one)));
    command.after_help(format!("Examples:{}", lines.collect::<String>()))
}

fn list_args(command: clap::Command) -> clap::Command {
    command
        .arg(
            Arg::new("filter")
                .long("filter")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .help("Any filter of the API"),
        )
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .value_parser(value_parser!(usize))
                .help("How many at the most [default: 200]"),
        )
        .arg(flag("all", "all", "All there are"))
        .arg(output_arg("table"))
        .arg(profile_arg())
}

fn action_command(resource: &'static Resource, action: &'static Action) -> clap::Command {
    let mut command = clap::Command::new(action.name).about(action.about);
    if action.target != Target::Collection {
        command = lookup_args(command, resource);
    }
    if action.target == Target::Part {
        command = command.arg(Arg::new("part").required(true).value_name("ID").help("Which"));
    }
    if action.body {
        command = body_args(command);
    }
    match (&action.method, action.columns.is_empty()) {
        (&Method::GET, false) => list_args(command),
        (&Method::GET, true) => command.arg(output_arg("yaml")).arg(profile_arg()),
        _ => write_args(command),
    }
}

fn organisation() -> clap::Command {
    let get = clap::Command::new("get")
        .about("Show the organisation")
        .arg(output_arg("yaml"))
        .arg(profile_arg());
    let update = clap::Command::new("update").about(
        "Change the organisation: its name, primary connection, floor, require_second_factor, oldest_proof",
    );
    clap::Command::new("organisation")
        .visible_alias("organization")
        .about("The organisation itself")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(get)
        .subcommand(write_args(body_args(update).arg(if_match())))
        .after_help(
            "Examples:\n  chatelaine organisation update --set primary_connection=Okta --dry-run\n  \
             chatelaine organisation update --set 'floor=[{type: mfa}]'",
        )
}

/// Runs a command; the exit code. `root` is the whole command line, for completion.
pub async fn run(command: Command, root: clap::Command, around: &mut Surroundings) -> u8 {
    let outcome = Box::pin(dispatch(command, root, around)).await;
    finish(outcome, around)
}

/// Runs a command about the log; the exit code.
pub async fn run_audit(command: Audit, around: &mut Surroundings) -> u8 {
    let outcome = async {
        let api = profile::connect(around, command.profile())?;
        Box::pin(audit::run(command, &api, around)).await
    };
    let outcome = outcome.await;
    finish(outcome, around)
}

fn finish(outcome: Outcome, around: &mut Surroundings) -> u8 {
    match outcome {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                // What the server says may repeat what somebody else entered.
                let lines: Vec<_> = failure.message.lines().map(clean).collect();
                around.note(format!("chatelaine: {}", lines.join("\n")));
            }
            failure.code as u8
        }
    }
}

fn parsed<T: FromArgMatches>(args: &ArgMatches) -> Outcome<T> {
    T::from_arg_matches(args).map_err(|error| Failure::usage(error.to_string()))
}

async fn dispatch(command: Command, mut root: clap::Command, around: &mut Surroundings) -> Outcome {
    let Command { name, args } = command;
    let chosen = |args: &ArgMatches| args.try_get_one::<String>("profile").ok().flatten().cloned();
    match name.as_str() {
        "login" => return profile::login(parsed(&args)?, around).await,
        "logout" => return profile::logout(args.get_one::<String>("name").cloned(), around),
        "context" => return profile::context(parsed(&args)?, around),
        "topics" => {
            return around.print(topics::text(args.get_one::<String>("topic").map(String::as_str)));
        }
        "completion" => {
            let mut script = Vec::new();
            if let Some(shell) = args.get_one::<clap_complete::Shell>("shell") {
                let name = root.get_name().to_owned();
                clap_complete::generate(*shell, &mut root, name, &mut script);
            }
            return around.print(String::from_utf8_lossy(&script));
        }
        _ => {}
    }
    let inner = args.subcommand();
    let profile = chosen(&args).or_else(|| inner.and_then(|(_, args)| chosen(args)));
    let api = profile::connect(around, profile.as_deref())?;
    match name.as_str() {
        "whoami" => return profile::whoami(&api, around).await,
        "export" => return code::export::run(parsed(&args)?, &api, around).await,
        "diff" => return code::diff(parsed(&args)?, &api, around).await,
        "apply" => return code::apply(parsed(&args)?, &api, around).await,
        "agents" => return agents::run(parsed(&args)?, &api, around).await,
        _ => {}
    }
    let Some((verb, args)) = inner else {
        return Err(Failure::new(Code::Usage, "say what to do: --help"));
    };
    if name == "organisation" {
        return organisation_run(&api, verb, args, around).await;
    }
    let resource = RESOURCES.iter().find(|r| r.name == name);
    let resource = resource.ok_or_else(|| Failure::usage(format!("unknown command {name}")))?;
    let run = Run {
        api: &api,
        around,
        resource,
        args,
    };
    let common = match verb {
        "list" => Some(Verb::List),
        "get" => Some(Verb::Get),
        "create" => Some(Verb::Create),
        "update" => Some(Verb::Update),
        "delete" => Some(Verb::Delete),
        _ => None,
    };
    if let Some(verb) = common {
        return run.verb(verb).await;
    }
    match resource.actions.iter().find(|a| a.name == verb) {
        Some(action) => run.action(action).await,
        None => Err(Failure::usage(format!("unknown command {name} {verb}"))),
    }
}

/// The organisation is one thing, without an identifier in its path.
static ORGANISATION: Resource = Resource {
    name: "organisation",
    singular: "organisation",
    about: "",
    verbs: &[Verb::Get, Verb::Update],
    columns: &[("NAME", &["name"]), ("SLUG", &["slug"]), ("ID", &["id"])],
    keys: &[],
    filters: &[],
    actions: &[],
    examples: "",
};

async fn organisation_run(api: &Api, verb: &str, args: &ArgMatches, around: &mut Surroundings) -> Outcome {
    let mut run = Run {
        api,
        around,
        resource: &ORGANISATION,
        args,
    };
    if verb == "get" {
        let reply = api.send(Call::new(Method::GET, ORGANISATION.name)).await?;
        return run.show(&reply, ORGANISATION.columns, Form::Yaml).await;
    }
    let body = run.body(true).await?;
    run.change(Method::PATCH, ORGANISATION.name, Some(&body)).await
}

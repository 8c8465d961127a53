//! Which server, and as whom: `login`, `logout`, `whoami`, `context`. What is remembered lies in one file that
//! only its owner can read; CHATELAINE_URL and CHATELAINE_TOKEN come before it.

use crate::api::{Api, server_url};
use crate::failure::{Code, Failure, Outcome};
use crate::node::Node;
use crate::surroundings::{Surroundings, write_private};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The file of profiles.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    /// The one in use.
    #[serde(default)]
    current: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    server: String,
    token: String,
}

const FILE: &str = "profiles.json";

fn load(around: &Surroundings) -> Outcome<Profiles> {
    let path = around.config_folder()?.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => serde_json::from_str(&text)
            .map_err(|error| Failure::error(format!("{} is damaged: {error}", path.display()))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Profiles::default()),
        Err(error) => Err(Failure::error(format!("cannot read {}: {error}", path.display()))),
    }
}

fn save(around: &Surroundings, profiles: &Profiles) -> Outcome {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = around.config_folder()?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(|error| Failure::error(format!("cannot make {}: {error}", folder.display())))?;
    let text = serde_json::to_string_pretty(profiles).map_err(|e| Failure::error(e.to_string()))?;
    write_private(&folder.join(FILE), &(text + "\n"), true)
}

/// The server and credential to use: those of the environment, else those of the profile.
pub(crate) fn connect(around: &Surroundings, profile: Option<&str>) -> Outcome<Api> {
    let plain_http = around.var("CHATELAINE_PLAIN_HTTP").is_some();
    let (url, token) = (around.var("CHATELAINE_URL"), around.var("CHATELAINE_TOKEN"));
    let named = profile.or_else(|| around.var("CHATELAINE_PROFILE"));
    if let (Some(url), Some(token), None) = (url, token, profile) {
        return Api::new(server_url(url, plain_http)?, token.to_owned());
    }
    let profiles = load(around)?;
    let Some(name) = named.or(profiles.current.as_deref()) else {
        return Err(Failure::new(
            Code::Unauthenticated,
            "not signed in: run `chatelaine login`, or set CHATELAINE_URL and CHATELAINE_TOKEN",
        ));
    };
    let Some(found) = profiles.profiles.get(name) else {
        let detail = format!("there is no profile {name}: see `chatelaine context list`");
        return Err(Failure::new(Code::Unauthenticated, detail));
    };
    // A token goes to the server that it is for, and to no other.
    match (url, token) {
        _ if profile.is_some() => {}
        (Some(url), None) if server_url(url, plain_http)? != found.server => {
            let detail = "CHATELAINE_URL names another server than the profile: set CHATELAINE_TOKEN, too";
            return Err(Failure::new(Code::Unauthenticated, detail));
        }
        (None, Some(token)) => return Api::new(found.server.clone(), token.to_owned()),
        _ => {}
    }
    Api::new(found.server.clone(), found.token.clone())
}

/// `chatelaine login`.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  chatelaine login --server https://chatelaine.example.com
      asks for an API token; it is not shown while you type
  pass show chatelaine | chatelaine login --server https://chatelaine.example.com --token -
  chatelaine login --server https://staging.example.com --name staging

Make a token in the dashboard (Settings, API tokens) or with `chatelaine api-tokens create`.
Pipelines need no login: set CHATELAINE_URL and CHATELAINE_TOKEN.")]
pub(crate) struct Login {
    /// The control plane's URL; CHATELAINE_URL, or that of the profile, if absent.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// The API token (`cht_…`); `-` reads it from standard input. On the command line others can see it, so
    /// rather set CHATELAINE_TOKEN.
    #[arg(long, value_name = "-|TOKEN")]
    token: Option<String>,
    /// What to call this server and credential.
    #[arg(long, value_name = "PROFILE", default_value = "default")]
    name: String,
}

pub(crate) async fn login(args: Login, around: &mut Surroundings) -> Outcome {
    let mut profiles = load(around)?;
    let plain_http = around.var("CHATELAINE_PLAIN_HTTP").is_some();
    let known = profiles.profiles.get(&args.name).map(|p| p.server.clone());
    let named = args
        .server
        .or_else(|| around.var("CHATELAINE_URL").map(ToOwned::to_owned));
    let server = match named.or(known) {
        Some(server) => server,
        None if around.asks => around.ask("Server: ")?,
        None => return Err(Failure::usage("say which server: --server URL")),
    };
    let server = server_url(&server, plain_http)?;
    let given = args
        .token
        .or_else(|| around.var("CHATELAINE_TOKEN").map(ToOwned::to_owned));
    let token = match given.as_deref() {
        Some("-") => around.read_all()?,
        Some(token) => token.to_owned(),
        None if around.asks => {
            around.note(format!(
                "Make an API token at {server}/settings, then enter it here."
            ));
            around.ask_secret("Token: ")?
        }
        None => {
            return Err(Failure::usage(
                "nobody can be asked for the token here: use --token -",
            ));
        }
    };
    let token = token.trim().to_owned();
    if token.is_empty() {
        return Err(Failure::usage("no token was given"));
    }
    let api = Api::new(server.clone(), token.clone())?;
    let session = api.get("session").await.map_err(Failure::from)?.body;
    profiles
        .profiles
        .insert(args.name.clone(), Profile { server, token });
    profiles.current = Some(args.name);
    save(around, &profiles)?;
    around.print(introduce(&api, &session))
}

/// Who somebody is, in three lines.
fn introduce(api: &Api, session: &Node) -> String {
    let text = |path: [&str; 2]| {
        let node = session.get(path[0]).and_then(|n| n.get(path[1]));
        node.and_then(Node::as_str).unwrap_or_default().to_owned()
    };
    let roles = session.get("roles").map_or(&[][..], Node::items);
    let mut roles: Vec<_> = roles
        .iter()
        .filter_map(|r| r.get("role").and_then(Node::as_str))
        .collect();
    roles.dedup();
    let who = match text(["user", "email"]) {
        email if email.is_empty() => text(["user", "id"]),
        email => email,
    };
    format!(
        "server        {}\norganisation  {}\nuser          {who}\nroles         {}\n",
        api.server(),
        text(["organisation", "name"]),
        roles.join(", ")
    )
}

pub(crate) async fn whoami(api: &Api, around: &mut Surroundings) -> Outcome {
    let session = api.get("session").await?.body;
    around.print(introduce(api, &session))
}

/// Forgets a profile. The token goes on working: `chatelaine api-tokens delete` ends it.
pub(crate) fn logout(name: Option<String>, around: &mut Surroundings) -> Outcome {
    let mut profiles = load(around)?;
    let Some(name) = name.or_else(|| profiles.current.clone()) else {
        around.note("Nothing is remembered.");
        return Ok(());
    };
    if profiles.profiles.remove(&name).is_none() {
        return Err(Failure::new(
            Code::NotFound,
            format!("there is no profile {name}"),
        ));
    }
    if profiles.current.as_deref() == Some(&name) {
        profiles.current = None;
    }
    save(around, &profiles)?;
    around.note(format!(
        "Forgot {name}. Its token still works until `chatelaine api-tokens delete` ends it."
    ));
    Ok(())
}

/// `chatelaine context`.
#[derive(clap::Subcommand, Debug)]
pub(crate) enum Context {
    /// Show the profiles; `*` marks the one in use.
    List,
    /// Use another profile from now on.
    Use {
        /// Which.
        profile: String,
    },
}

pub(crate) fn context(command: Context, around: &mut Surroundings) -> Outcome {
    let mut profiles = load(around)?;
    match command {
        Context::List => {
            let current = profiles.current.as_deref();
            let lines = profiles.profiles.iter().map(|(name, profile)| {
                let mark = if current == Some(name) { '*' } else { ' ' };
                format!("{mark} {name:<16} {}\n", profile.server)
            });
            around.print(lines.collect::<String>())
        }
        Context::Use { profile } => {
            if !profiles.profiles.contains_key(&profile) {
                return Err(Failure::new(
                    Code::NotFound,
                    format!("there is no profile {profile}"),
                ));
            }
            profiles.current = Some(profile);
            save(around, &profiles)
        }
    }
}

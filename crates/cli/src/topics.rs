//! What commands have in common, for `chatelaine topics`.

/// The names of all topics.
pub(crate) const NAMES: [&str; 5] = ["credentials", "names", "files", "code", "exit-codes"];

const TOPICS: [(&str, &str, &str); 5] = [
    (
        "credentials",
        "Servers, tokens, profiles, environment variables",
        "\
Commands talk to a server's REST API with an API token, as any automation does; they can do what the token's
owner can do, within the token's scopes.

  chatelaine login --server https://chatelaine.example.com     remembers server and token as a profile
  chatelaine context list; chatelaine context use staging      several servers
  CHATELAINE_URL, CHATELAINE_TOKEN                             for pipelines; come before the profile
  CHATELAINE_PROFILE, --profile                                another profile, for one command

Profiles lie in $XDG_CONFIG_HOME/chatelaine/profiles.json (~/.config without it), which only you can read.
A token goes to the server that it was given for, and to no other. Over http it goes to this machine only,
unless CHATELAINE_PLAIN_HTTP is set.
",
    ),
    (
        "names",
        "How things are named on the command line",
        "\
Where a command takes one thing, its identifier (app_0193…) or its name will do. Names of apps, groups,
policies and service tokens are unique in their account only: if several have the same, --account says which.
People go by e-mail address, bindings and grants by identifier.

In -f and --set, names stand for identifiers in: account, accounts, connection, primary_connection, app,
user, client, policies. Selectors take identifiers; files for `chatelaine apply` take names everywhere.
",
    ),
    (
        "files",
        "What -f, --set and -o take and give",
        "\
What goes in and what comes out:

  -f FILE        YAML or JSON; `-` is standard input
  --set a.b=c    one value, after -f; the value is read as YAML: true, 5, [a, b], {type: mfa}, null
  -o table       columns, for people; the default of lists
  -o yaml        everything the API says; the default of one thing
  -o json        the same for programs

`update` sends a merge patch (RFC 7396): what is not said stays, null brings the default back. It changes what
was there a moment before and nothing newer; --if-match says which version instead. --dry-run on any change
shows what it would do and who would gain, keep and lose access. Colours are for terminals; NO_COLOR ends them.
",
    ),
    (
        "code",
        "The organisation as one file: export, diff, apply",
        "\
Three commands and one file:

  chatelaine export > org.yaml       everything that is configuration, in names, without secrets
  chatelaine diff -f org.yaml        what differs; exit code 2 if something does
  chatelaine apply -f org.yaml       plan with impact, question, then step by step

  organisation:                      name, primary connection, floor
    primary_connection: Okta
  connections:                       shared; an account's own stand in the account
    - name: Okta
      kind: oidc
      issuer: https://acme.okta.com
      client_id: 0oa1
      client_secret: {from_env: OKTA_CLIENT_SECRET}
  accounts:
    - name: Production
      previously: Prod               renames, if there is a Prod
      bindings: [{connection: Okta}]
      groups:
        - name: Staff
          members: [{connection: Okta, email: ada@example.com}]
      policies:
        - name: Staff may
          decision: allow
          include: [{type: group, group: Staff}]
      apps:
        - name: Wiki
          kind: web
          public_url: https://wiki.example.com
          origin_url: http://10.0.0.5:8080
          policies: [Staff may]

A file starts with `chatelaine: 1`. What is left out of a thing has its default; things that are left out
stay, unless --prune is given. Deleting needs --prune; a file without `organisation` concerns only the
accounts that it names. Unknown keys are refused, with line and column.
",
    ),
    (
        "exit-codes",
        "What pipelines can tell apart",
        "\
Every command ends with one of these:

  0  done; for diff: no differences
  1  an error: the server cannot be reached, refuses a value, or failed
  2  the command line or file is not acceptable; differences are pending (diff), or apply was not allowed to begin
  3  not authenticated
  4  forbidden
  5  there is no such thing
  6  conflict: taken, still used, or changed meanwhile
",
    ),
];

/// The topics, a line each.
pub(crate) fn list() -> String {
    let lines = TOPICS
        .iter()
        .map(|(name, about, _)| format!("  {name:<12} {about}\n"));
    format!("Topics:\n{}", lines.collect::<String>())
}

/// One topic, or the list.
pub(crate) fn text(name: Option<&str>) -> String {
    let found = TOPICS.iter().find(|(known, _, _)| Some(*known) == name);
    found.map_or_else(list, |(_, about, text)| format!("{about}\n\n{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_text() {
        for name in NAMES {
            assert!(text(Some(name)).len() > 200, "{name}");
        }
    }
}

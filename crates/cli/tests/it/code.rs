//! The organisation as code: what is exported can be applied elsewhere, and is the same there.

use crate::world::{OWNER, Server, on_each, path, request};
use serde_json::{Value, json};

/// Something of everything, with everything naming each other.
const RICH: &str = r##"
chatelaine: 1
organisation:
  name: Acme
  primary_connection: Acme SSO
  floor:
    - {type: connection, connection: Acme SSO}
connections:
  - name: Local owners
    kind: password
  - name: Acme SSO
    kind: oidc
    issuer: https://idp.example.com
    client_id: chatelaine
    client_secret: {from_env: SSO_SECRET}
    scopes: [profile, email, groups]
    claims: {groups: roles}
    bind_new_accounts: true
  - name: "Partner: \"east\""
    kind: oidc
    issuer: https://partner.example.com
    client_id: us
    client_secret: {from_env: PARTNER_SECRET}
    allowed_domains: [partner.example.com]
accounts:
  - name: Production
    bindings:
      - connection: Acme SSO
        mode: exclusive
        claims: [email]
      - connection: "Partner: \"east\""
    groups:
      - name: Staff
        members:
          - {connection: Local owners, email: owner@example.com}
        include:
          - {type: claim, name: groups, value: staff}
          - {type: connection, connection: Acme SSO}
    policies:
      - name: No contractors, ever
        decision: deny
        include: [{type: email_domain, domain: contractor.example}]
      - name: Our agent only
        decision: allow
        include: [{type: group, group: Staff}]
        require: [{type: client, client: {app: Wiki, name: Our agent}}]
      - name: "on"
        decision: service_auth
        include: [{type: service_token, service_token: backup}]
        require: [{type: request, methods: [GET], path: /public/**}]
    service_tokens:
      - name: backup
        expires_at: 2027-03-01T00:00:00Z
      - name: forever
        enabled: false
    webhooks:
      - name: Production's events
        url: https://hooks.example.com/production
        events: [user., binding.update]
    apps:
      - name: Wiki
        kind: web
        public_url: https://wiki.example.com
        origin_url: http://10.0.0.1:8080
        managed_oauth: true
        policies: ["No contractors, ever", Our agent only, "on"]
        oauth:
          grant_seconds: 3600
          registration: {dynamic: false}
        clients:
          - name: Our agent
            redirect_uris: [https://agent.example.com/cb]
            confidential: true
          - name: Old agent
            redirect_uris: [http://127.0.0.1/cb]
            state: blocked
  - name: Labs
    enabled: false
    connections:
      - name: Labs IdP
        kind: oidc
        issuer: https://labs.example.com
        client_id: labs
    policies:
      - name: Everybody
        decision: allow
        include: [{type: everyone}]
    apps:
      - name: Wiki
        kind: mcp
        public_url: https://labs.example.com/mcp
        origin_url: http://10.0.0.2:8080
        policies: [Everybody]
webhooks:
  - name: SIEM
    url: https://siem.example.com/in
    events: ["*"]
role_mappings:
  - {connection: Acme SSO, group: it, role: org_admin}
  - {connection: Acme SSO, group: it, account: Labs, role: account_admin}
"##;

fn secrets(shell: crate::world::Shell) -> crate::world::Shell {
    shell
        .with("SSO_SECRET", "canary-sso")
        .with("PARTNER_SECRET", "canary-partner")
        .with("ACME_SSO_CLIENT_SECRET", "canary-sso")
        .with("PARTNER___EAST_CLIENT_SECRET", "canary-partner")
}

/// Applies without questions.
async fn apply(server: &Server, text: &str, more: &[&str]) -> crate::world::Said {
    let file = server.file("apply.yaml", text);
    let made = server.home.join(format!("made-{}.yaml", wire::EventId::fresh()));
    let mut line = vec!["apply", "-f", path(&file), "--yes", "--credentials", path(&made)];
    line.extend(more);
    let mut said = secrets(server.shell()).run(&line).await;
    if let Ok(made) = std::fs::read_to_string(&made) {
        said.out.push_str(&made);
    }
    said
}

async fn applied(server: &Server, text: &str, more: &[&str]) -> String {
    let said = apply(server, text, more).await;
    assert_eq!(said.code, 0, "{}\n{}", said.out, said.err);
    said.out + &said.err
}

#[tokio::test]
async fn an_export_makes_the_same_organisation_of_an_empty_server() {
    on_each(async |rich, empty| {
        applied(rich, RICH, &[]).await;
        let first = rich.ok(&["export"]).await;
        for secret in ["canary", "cht_", "chs_", "whsec_"] {
            assert!(!first.contains(secret), "{first}");
        }
        for said in [
            "from_env: ACME_SSO_CLIENT_SECRET",
            "client: {app: Wiki, name: Our agent}",
            OWNER,
        ] {
            assert!(first.contains(said), "{said}:\n{first}");
        }
        assert!(!first.contains("_0"), "an identifier is left:\n{first}");

        let said = applied(empty, &first, &[]).await;
        assert!(
            said.contains("Production/Wiki/Our agent") && said.contains("chs_"),
            "{said}"
        );
        assert_eq!(empty.ok(&["export"]).await, first, "the same text");
        let locals = empty.api("GET", "connections", Value::Null).await;
        let locals = locals["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|c| c["kind"] == "password");
        assert_eq!(locals.count(), 1, "matched, not made twice");

        // And again: nothing.
        empty.asked();
        let said = applied(empty, &first, &[]).await;
        assert!(said.contains("Nothing to do"), "{said}");
        assert_eq!(empty.writes(), [], "nothing but reading");
        let file = empty.file("org.yaml", &first);
        let diff = empty.shell().run(&["diff", "-f", path(&file), "--prune"]).await;
        assert_eq!((diff.code, diff.out.as_str()), (0, ""), "{}", diff.err);
        assert_eq!(empty.writes(), [], "diff reads");
    })
    .await;
}

#[tokio::test]
async fn what_was_applied_does_what_the_file_says() {
    on_each(async |server, _| {
        applied(server, RICH, &[]).await;
        let list = async |path: &str| server.api("GET", path, Value::Null).await["items"].clone();
        let find = |items: &Value, name: &str| {
            let found = items.as_array().unwrap().iter().find(|i| i["name"] == name);
            found.unwrap_or_else(|| panic!("no {name} in {items}")).clone()
        };
        let accounts = list("accounts").await;
        let connections = list("connections").await;
        let sso = find(&connections, "Acme SSO");
        assert_eq!(
            (&sso["has_client_secret"], &sso["bind_new_accounts"]),
            (&json!(true), &json!(true))
        );
        let labs = find(&accounts, "Labs")["id"].as_str().unwrap().to_owned();
        // A connection that binds new accounts did not bind this one: the file says no such binding.
        assert_eq!(list(&format!("bindings?account={labs}")).await, json!([]));
        let production = find(&accounts, "Production")["id"].as_str().unwrap().to_owned();
        let bindings = list(&format!("bindings?account={production}")).await;
        let exclusive = bindings
            .as_array()
            .unwrap()
            .iter()
            .find(|b| b["connection"] == sso["id"])
            .unwrap()
            .clone();
        assert_eq!(
            (&exclusive["mode"], &exclusive["claims"]),
            (&json!("exclusive"), &json!(["email"]))
        );
        let policies = list(&format!("policies?account={production}")).await;
        let wiki = find(&list(&format!("apps?account={production}")).await, "Wiki");
        let order =
            ["No contractors, ever", "Our agent only", "on"].map(|n| find(&policies, n)["id"].clone());
        assert_eq!(wiki["policies"], json!(order), "in order");
        let clients = list("clients").await;
        let agent = find(&clients, "Our agent");
        assert_eq!(
            find(&policies, "Our agent only")["require"][0]["client"],
            agent["id"]
        );
        assert_eq!(find(&clients, "Old agent")["state"], "blocked");
        assert_eq!(
            server.api("GET", "organisation", Value::Null).await["primary_connection"],
            sso["id"]
        );
    })
    .await;
}

#[tokio::test]
async fn an_app_lets_nobody_in_while_one_of_its_policies_is_still_to_come() {
    on_each(async |server, _| {
        applied(server, RICH, &[]).await;
        let order = server.writes();
        let path = "/audit?action=app.&order=oldest";
        let events = server.api("GET", &path[1..], Value::Null).await["items"].clone();
        let of_wiki = |event: &&Value| event["target"]["name"] == "Wiki";
        let events: Vec<_> = events.as_array().unwrap().iter().filter(of_wiki).collect();
        // The deny policy was there in time, and without it the rest would let too many in.
        let created = events
            .iter()
            .find(|e| e["change"]["after"]["public_url"] == "https://wiki.example.com");
        assert_eq!(
            created.unwrap()["change"]["after"]["policies"],
            json!([]),
            "{order:?}"
        );
        let updated = events.iter().find(|e| e["action"] == "app.update").unwrap();
        assert_eq!(
            updated["change"]["after"]["policies"].as_array().unwrap().len(),
            3
        );
    })
    .await;
}

#[tokio::test]
async fn changes_are_planned_shown_and_made() {
    on_each(async |server, _| {
        applied(server, RICH, &[]).await;
        let before = server.ok(&["export"]).await;
        let changed = before
            .replace("name: Staff\n", "name: Employees\n        previously: Staff\n")
            .replace("group: Staff", "group: Employees")
            .replace("grant_seconds: 3600", "grant_seconds: 7200")
            .replace("mode: exclusive, ", "")
            .replace("role: account_admin", "role: account_auditor");
        assert_ne!(before, changed);
        let file = server.file("org.yaml", &changed);
        server.asked();
        let diff = server.shell().run(&["diff", "-f", path(&file)]).await;
        assert_eq!(diff.code, 2, "{}", diff.err);
        for line in [
            "~ update group Production/Employees",
            "-   grant_seconds: 3600",
            "+   grant_seconds: 7200",
            "- mode: exclusive",
            "~ update role mapping Labs/Acme SSO/it as account_auditor",
        ] {
            assert!(diff.out.contains(line), "{line}\n{}", diff.out);
        }
        assert!(
            !diff.out.contains("policy"),
            "the policy names the same group: {}",
            diff.out
        );
        let machine = server
            .shell()
            .run(&["diff", "-f", path(&file), "-o", "json"])
            .await;
        let machine: Value = serde_json::from_str(&machine.out).unwrap();
        assert_eq!(machine["steps"].as_array().unwrap().len(), 4, "{machine:#}");
        assert_eq!(server.writes(), []);

        let dry = server
            .shell()
            .run(&["apply", "-f", path(&file), "--dry-run"])
            .await;
        assert_eq!(dry.code, 0, "{}", dry.err);
        assert_eq!(server.ok(&["export"]).await, before);
        applied(server, &changed, &[]).await;
        let after = server.ok(&["export"]).await;
        assert_eq!(after, changed.replace("        previously: Staff\n", ""));
        // `previously` stays in the file and says nothing any more.
        assert!(applied(server, &changed, &[]).await.contains("Nothing to do"));
    })
    .await;
}

#[tokio::test]
async fn only_prune_deletes_and_only_what_the_file_is_about() {
    on_each(async |server, _| {
        applied(server, RICH, &[]).await;
        let whole = server.ok(&["export"]).await;
        let labs = server.ok(&["export", "--account", "Labs"]).await;
        assert!(
            !labs.contains("Production") && !labs.contains("organisation:"),
            "{labs}"
        );
        // One account's file says nothing about the rest.
        let without_app = labs.split("    apps:\n").next().unwrap().to_owned();
        let said = applied(server, &without_app, &[]).await;
        assert!(
            said.contains("Nothing to do") && said.contains("kept without --prune: app Labs/Wiki"),
            "{said}"
        );
        let said = applied(server, &without_app, &["--prune"]).await;
        assert!(said.contains("- delete app Labs/Wiki"), "{said}");
        let now = server.ok(&["export"]).await;
        assert!(
            now.contains("wiki.example.com") && !now.contains("labs.example.com/mcp"),
            "{now}"
        );

        applied(server, &whole, &[]).await;
        assert_eq!(server.ok(&["export"]).await, whole);
        // The whole organisation without Labs.
        let (head, rest) = whole.split_once("  - name: Labs\n").unwrap();
        let production = rest.split_once("  - name: Production\n").unwrap().1;
        let smaller = format!("{head}  - name: Production\n{production}");
        let smaller = smaller.replace(
            "  - {connection: Acme SSO, group: it, account: Labs, role: account_admin}\n",
            "",
        );
        let said = applied(server, &smaller, &["--prune"]).await;
        assert!(said.contains("- delete account Labs"), "{said}");
        assert_eq!(server.ok(&["export"]).await, smaller);
    })
    .await;
}

#[tokio::test]
async fn secrets_are_asked_for_only_when_they_are_needed() {
    on_each(async |server, _| {
        let file = server.file("org.yaml", RICH);
        let made = server.home.join("made.yaml");
        let line = ["apply", "-f", path(&file), "--yes", "--credentials", path(&made)];
        let said = server.shell().run(&line).await;
        assert_eq!(said.code, 2);
        assert!(said.err.contains("PARTNER_SECRET, SSO_SECRET"), "{}", said.err);
        assert_eq!(server.writes(), [], "nothing before everything is there");

        let values = server.file(
            "values.yaml",
            "SSO_SECRET: canary-one\nPARTNER_SECRET: canary-two\n",
        );
        let mut with = line.to_vec();
        with.extend(["--secrets", path(&values)]);
        let said = server.shell().run(&with).await;
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(!(said.out + &said.err).contains("canary"));
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&made).unwrap().permissions().mode() & 0o777,
            0o600
        );

        // There now; not needed again, unless it is to be replaced.
        let said = server.shell().run(&["apply", "-f", path(&file), "--yes"]).await;
        assert_eq!(said.code, 0, "{}", said.err);
        server.asked();
        let replace = [
            "apply",
            "-f",
            path(&file),
            "--yes",
            "--replace-secret",
            "Acme SSO",
        ];
        let said = server
            .shell()
            .with("SSO_SECRET", "canary-new")
            .run(&replace)
            .await;
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(server.writes().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_done_without_a_yes() {
    on_each(async |server, _| {
        let text = "chatelaine: 1\naccounts:\n  - name: New\n";
        let file = server.file("org.yaml", text);
        let line = ["apply", "-f", path(&file)];
        let said = server.shell().run(&line).await;
        assert_eq!(said.code, 2, "{}", said.err);
        let said = server.shell().typing("y\n").run(&line).await;
        assert_eq!(said.code, 2, "{}", said.err);
        assert!(said.err.contains("Nothing was changed"), "{}", said.err);
        assert_eq!(server.writes(), []);
        let said = server.shell().typing("yes\n").run(&line).await;
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(server.ok(&["export"]).await.contains("name: New"));
    })
    .await;
}

#[tokio::test]
async fn a_failure_says_what_was_done_and_where_the_file_is_wrong() {
    on_each(async |server, _| {
        let text = "\
chatelaine: 1
accounts:
  - name: New
    apps:
      - name: Wiki
        kind: web
        public_url: https://wiki.example.com
        origin_url: nonsense
";
        let said = apply(server, text, &[]).await;
        assert_eq!(said.code, 1, "{}", said.err);
        for part in [
            "stopped at app New/Wiki",
            "line 8:9",
            "Done before it, 1 of 2",
            "created account New",
        ] {
            assert!(said.err.contains(part), "{part}\n{}", said.err);
        }
        // Mended, it goes on where it stopped.
        let said = applied(server, &text.replace("nonsense", "http://10.0.0.1"), &[]).await;
        assert!(said.contains("1 to create, 0 to update"), "{said}");
    })
    .await;
}

#[tokio::test]
async fn mistakes_in_a_file_are_told_before_anything_is_done() {
    on_each(async |server, _| {
        let text = "\
chatelaine: 1
accounts:
  - name: New
    enabeld: true
    policies:
      - name: P
        decision: allow
        include: [{type: group, group: Stuff}]
    groups:
      - name: Staff
    apps:
      - name: A
        kind: web
        public_url: https://a.example.com
        origin_url: http://10.0.0.1
        policies: [Q]
        oauth: {registration: {dynamc: true}}
";
        let file = server.file("org.yaml", text);
        server.asked();
        let said = server.shell().run(&["apply", "-f", path(&file), "--yes"]).await;
        assert_eq!(said.code, 2);
        for part in [
            "org.yaml:4:5: unknown field `enabeld`",
            "org.yaml:8:40: there is no group called Stuff in this account; is Staff meant?",
            "org.yaml:16:20: there is no policy called Q",
        ] {
            assert!(said.err.contains(part), "{part}\n{}", said.err);
        }
        let mended = text
            .replace("[Q]", "[P]")
            .replace("Stuff", "Staff")
            .replace("enabeld", "enabled");
        let file = server.file("org.yaml", &mended);
        let said = server.shell().run(&["diff", "-f", path(&file)]).await;
        assert!(
            said.err.contains("org.yaml:17:32: unknown field `dynamc`"),
            "{}",
            said.err
        );
        assert_eq!(server.writes(), []);
    })
    .await;
}

#[tokio::test]
async fn members_go_by_identity_and_come_when_they_have_signed_in() {
    on_each(async |one, other| {
        applied(one, RICH, &[]).await;
        applied(other, RICH, &[]).await;
        let sso = async |server: &Server| {
            let all = server.api("GET", "connections", Value::Null).await;
            let found = all["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|c| c["name"] == "Acme SSO")
                .unwrap()["id"]
                .clone();
            found.as_str().unwrap().to_owned()
        };
        let ada = one.person(&sso(one).await, "ada").await;
        let groups = one.api("GET", "groups", Value::Null).await["items"].clone();
        let group = groups[0]["id"].as_str().unwrap();
        one.api("PATCH", &format!("groups/{group}"), json!({"members": [ada]}))
            .await;
        let file = one.ok(&["export"]).await;
        assert!(
            file.contains("{connection: Acme SSO, subject: ada, email: ada@example.com}"),
            "{file}"
        );

        let said = applied(other, &file, &[]).await;
        assert!(
            said.contains("left out because they have never signed in: ada@example.com"),
            "{said}"
        );
        // Somebody with the same address and another subject is somebody else.
        other.person(&sso(other).await, "imposter").await;
        let ada = other.person(&sso(other).await, "ada").await;
        applied(other, &file, &[]).await;
        let groups = other.api("GET", "groups", Value::Null).await["items"].clone();
        assert_eq!(groups[0]["members"], json!([ada]));
        assert_eq!(other.ok(&["export"]).await, file);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_accounts_are_planned_in_seconds() {
    on_each(async |server, _| {
        let mut text =
            "chatelaine: 1\norganisation:\n  name: Large\nconnections:\n  - name: Okta\n    kind: oidc\n    \
            issuer: https://idp.example.com\n    client_id: us\naccounts:\n"
                .to_owned();
        for n in 0..1000 {
            text.push_str(&format!(
                "  - name: Account {n:04}\n    bindings:\n      - {{connection: Okta, mode: exclusive}}\n"
            ));
        }
        let mut tx = server.store.begin().await.unwrap();
        for n in 0..1000 {
            let spec = testkit::from_json(json!({"name": format!("Account {n:04}")}));
            store::org::create_account(&mut tx, &server.org, spec)
                .await
                .unwrap();
        }
        tx.commit_housekeeping().await.unwrap();
        applied(server, &text, &[]).await;
        let posted = server.writes();
        let bindings = posted
            .iter()
            .filter(|(_, path)| path.starts_with("/api/v1/bindings"));
        assert_eq!(bindings.count(), 2, "bound by the hundred");
        let began = std::time::Instant::now();
        let file = server.ok(&["export"]).await;
        let exported = began.elapsed();
        let changed = server.file("org.yaml", &file.replacen("mode: exclusive", "mode: allowed", 1));
        let began = std::time::Instant::now();
        let diff = server.shell().run(&["diff", "-f", path(&changed)]).await;
        assert_eq!(diff.code, 2, "{}", diff.err);
        assert!(
            diff.err.contains("0 to create, 1 to update, 0 to delete"),
            "{}",
            diff.err
        );
        let planned = began.elapsed();
        assert!(server.asked().len() < 80, "pages, not things");
        println!("exported in {exported:?}, planned in {planned:?}");
        assert!(
            planned.as_secs() < 10 && exported.as_secs() < 10,
            "{exported:?} {planned:?}"
        );
    })
    .await;
}

/// The server goes on while the command waits for an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_between_plan_and_yes_is_a_conflict_and_not_lost() {
    on_each(async |server, _| {
        let made = server.api("POST", "accounts", json!({"name": "Labs"})).await;
        let file = server.file(
            "org.yaml",
            "chatelaine: 1\naccounts:\n  - {name: Laboratory, previously: Labs}\n",
        );
        let (url, token, id) = (server.url.clone(), server.token.clone(), made["id"].clone());
        let somebody_else = move || {
            let act = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let path = format!("accounts/{}", id.as_str().unwrap());
                let change = request((&url, &token), ("PATCH", &path), json!({"enabled": false}));
                runtime.unwrap().block_on(change);
            };
            std::thread::spawn(act).join().unwrap();
        };
        let shell = server.shell().typing("yes\n").meanwhile(somebody_else);
        let said = shell.run(&["apply", "-f", path(&file)]).await;
        assert_eq!(said.code, 6, "{}", said.err);
        assert!(said.err.contains("Nothing was changed"), "{}", said.err);
        let now = server.ok(&["account", "get", "Labs", "-o", "json"]).await;
        assert!(now.contains("\"enabled\": false"), "{now}");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_says_nothing_of_the_redirect_uri_switches_none() {
    on_each(async |server, _| {
        applied(server, RICH, &[]).await;
        let callback = async || {
            let all = server.api("GET", "connections", Value::Null).await["items"].clone();
            let sso = all
                .as_array()
                .unwrap()
                .iter()
                .find(|c| c["name"] == "Acme SSO")
                .cloned();
            sso.unwrap()
        };
        let sso = callback().await;
        assert_eq!(sso["callback"], "own");
        let id = sso["id"].as_str().unwrap().parse().unwrap();
        let before = store::connection::get(&server.store, &server.org, &id)
            .await
            .unwrap();
        let spec = wire::ConnectionSpec {
            callback: wire::Callback::Shared,
            ..before.spec.clone()
        };
        let mut tx = server.store.begin().await.unwrap();
        store::connection::update(&mut tx, &before, spec).await.unwrap();
        tx.commit_housekeeping().await.unwrap();
        let said = applied(server, RICH, &[]).await;
        assert!(said.contains("Nothing to do"), "{said}");
        assert_eq!(callback().await["callback"], "shared");
        let at = RICH.find("name: Acme SSO").unwrap();
        let (head, tail) = RICH.split_at(at);
        applied(server, &format!("{head}callback: own\n    {tail}"), &[]).await;
        assert_eq!(callback().await["callback"], "own");
    })
    .await;
}

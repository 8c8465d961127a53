//! Every resource by its commands, as people and as pipelines use them.

use crate::world::{OWNER, on_each, path};
use serde_json::{Value, json};

#[tokio::test]
async fn resources_are_listed_shown_made_changed_and_deleted() {
    on_each(async |server, _| {
        server.ok(&["account", "create", "--set", "name=Labs"]).await;
        server
            .ok(&["accounts", "create", "--set", "name=Production"])
            .await;
        let policy = server.file(
            "policy.yaml",
            "name: All\ndecision: allow\ninclude:\n  - type: everyone\n",
        );
        for account in ["Labs", "Production"] {
            server
                .ok(&["policy", "create", "--account", account, "-f", path(&policy)])
                .await;
        }
        let app = [
            "app",
            "create",
            "--account",
            "Labs",
            "-o",
            "json",
            "--set",
            "name=Wiki",
            "--set",
            "kind=web",
            "--set",
            "public_url=https://w.example.com",
            "--set",
            "origin_url=http://10.0.0.1",
            "--set",
            "policies=[All]",
        ];
        let made: Value = serde_json::from_str(&server.ok(&app).await).unwrap();
        assert_eq!(
            made["policies"].as_array().unwrap().len(),
            1,
            "of the same account"
        );
        let id = made["id"].as_str().unwrap();

        let table = server.ok(&["apps", "list"]).await;
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row,
            ["Wiki", "web", "Labs", "https://w.example.com", "no", "yes", id]
        );
        let yaml = server.ok(&["app", "get", "Wiki"]).await;
        assert!(yaml.starts_with(&format!("id: {id}\n")), "{yaml}");
        assert_eq!(server.ok(&["app", "get", id, "-o", "yaml"]).await, yaml);
        server
            .ok(&["app", "update", "Wiki", "--set", "managed_oauth=true"])
            .await;
        assert!(
            server
                .ok(&["apps", "list", "--account", "Labs"])
                .await
                .contains("  yes  ")
        );
        let ids: Value = serde_json::from_str(&server.ok(&["apps", "list", "-o", "json"]).await).unwrap();
        assert_eq!(ids[0]["managed_oauth"], true);
        server.ok(&["app", "delete", "Wiki"]).await;
        assert_eq!(server.ok(&["apps", "list", "-o", "json"]).await, "[]\n");

        // Two of one name need to be told apart.
        let said = server.shell().run(&["policy", "get", "All"]).await;
        assert_eq!(said.code, 2);
        assert!(
            said.err.contains("2 policies are called All") && said.err.contains("Production"),
            "{}",
            said.err
        );
        server.ok(&["policy", "get", "All", "--account", "Labs"]).await;
    })
    .await;
}

#[tokio::test]
async fn lists_follow_pages_as_far_as_they_are_asked_to() {
    on_each(async |server, _| {
        for n in 0..205 {
            server
                .api("POST", "accounts", json!({"name": format!("A{n:03}")}))
                .await;
        }
        let count = async |more: &[&str]| {
            let said = server
                .shell()
                .run(&[&["accounts", "list", "-o", "json"], more].concat())
                .await;
            let items: Value = serde_json::from_str(&said.out).unwrap();
            (items.as_array().unwrap().len(), said.err)
        };
        let (shown, hint) = count(&[]).await;
        assert_eq!(shown, 200);
        assert!(hint.contains("--all"), "{hint}");
        assert_eq!(count(&["--all"]).await, (205, String::new()));
        assert_eq!(count(&["--limit", "3"]).await.0, 3);
    })
    .await;
}

#[tokio::test]
async fn dry_runs_show_and_do_not_do() {
    on_each(async |server, _| {
        server.ok(&["account", "create", "--set", "name=Labs"]).await;
        let shown = server
            .ok(&["account", "update", "Labs", "--set", "name=Lab", "--dry-run"])
            .await;
        for part in [
            "account.update",
            "- name: Labs",
            "+ name: Lab",
            "nothing has changed",
        ] {
            assert!(shown.contains(part), "{part}\n{shown}");
        }
        let shown = server
            .ok(&["account", "delete", "Labs", "--dry-run", "-o", "json"])
            .await;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(shown["changes"][0]["action"], "account.delete");
        server.ok(&["account", "get", "Labs"]).await;
    })
    .await;
}

#[tokio::test]
async fn failures_have_codes_and_say_what_and_where() {
    on_each(async |server, _| {
        server.ok(&["account", "create", "--set", "name=Labs"]).await;
        let run = async |line: &[&str]| server.shell().run(line).await;
        let said = run(&["account", "create", "--set", "name=Labs"]).await;
        assert_eq!(said.code, 6, "{}", said.err);
        let said = run(&["account", "create", "--set", "name=X", "--set", "nmae=Y"]).await;
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(
            said.err.contains("nmae") && said.err.contains("request req-1"),
            "{}",
            said.err
        );
        assert_eq!(run(&["account", "get", "Nowhere"]).await.code, 5);
        assert_eq!(
            run(&[
                "account",
                "update",
                "Labs",
                "--set",
                "name=Lab",
                "--if-match",
                "7"
            ])
            .await
            .code,
            6
        );
        assert_eq!(run(&["account", "frobnicate"]).await.code, 2);
        assert_eq!(run(&["account", "update", "Labs"]).await.code, 2);
        let said = server
            .shell()
            .with("CHATELAINE_TOKEN", "cht_wrong")
            .run(&["whoami"])
            .await;
        assert_eq!(said.code, 3, "{}", said.err);
        let said = server
            .shell()
            .with("CHATELAINE_URL", "http://127.0.0.1:1")
            .run(&["whoami"])
            .await;
        assert_eq!(said.code, 1, "{}", said.err);
        assert!(said.err.contains("cannot be reached"), "{}", said.err);
        let token = [
            "api-token",
            "create",
            "--set",
            "name=r",
            "--set",
            "scopes=[read]",
            "-o",
            "json",
        ];
        let token: Value = serde_json::from_str(&server.ok(&token).await).unwrap();
        let reader = server
            .shell()
            .with("CHATELAINE_TOKEN", token["token"].as_str().unwrap());
        assert_eq!(
            reader.run(&["account", "create", "--set", "name=Y"]).await.code,
            4
        );
    })
    .await;
}

#[tokio::test]
async fn a_login_is_remembered_for_its_server_only() {
    on_each(async |server, other| {
        let shell = || {
            server
                .shell()
                .without("CHATELAINE_URL")
                .without("CHATELAINE_TOKEN")
        };
        let said = shell().run(&["accounts", "list"]).await;
        assert_eq!(said.code, 3);
        assert!(said.err.contains("chatelaine login"), "{}", said.err);

        let mut login = shell();
        login.input = format!("{}\n", server.token);
        let said = login
            .run(&["login", "--server", &server.url, "--token", "-"])
            .await;
        assert_eq!(said.code, 0, "{}", said.err);
        assert!(
            said.out.contains(OWNER) && said.out.contains("org_owner"),
            "{}",
            said.out
        );
        assert!(!said.out.contains("cht_"));
        let file = server.home.join("chatelaine/profiles.json");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(shell().run(&["whoami"]).await.code, 0);

        // A token does not go to another server than the one that it is for.
        other.asked();
        let said = shell().with("CHATELAINE_URL", &other.url).run(&["whoami"]).await;
        assert_eq!(said.code, 3, "{}", said.err);
        assert_eq!(other.asked(), []);

        let second = [
            "login",
            "--server",
            &other.url,
            "--token",
            &other.token,
            "--name",
            "other",
        ];
        assert_eq!(shell().run(&second).await.code, 0);
        let listed = shell().run(&["context", "list"]).await.out;
        assert!(
            listed.contains("  default") && listed.contains("* other"),
            "{listed}"
        );
        assert!(shell().run(&["whoami"]).await.out.contains(&other.url));
        assert!(
            shell()
                .run(&["whoami", "--profile", "default"])
                .await
                .out
                .contains(&server.url)
        );
        assert_eq!(shell().run(&["context", "use", "default"]).await.code, 0);
        assert!(shell().run(&["whoami"]).await.out.contains(&server.url));
        assert_eq!(shell().run(&["logout"]).await.code, 0);
        assert_eq!(shell().run(&["whoami"]).await.code, 3);

        // A wrong token is not remembered.
        let wrong = [
            "login",
            "--server",
            &server.url,
            "--token",
            "cht_wrong",
            "--name",
            "wrong",
        ];
        assert_eq!(shell().run(&wrong).await.code, 3);
        assert!(!shell().run(&["context", "list"]).await.out.contains("wrong"));
    })
    .await;
}

#[tokio::test]
async fn the_log_is_listed_exported_and_followed() {
    on_each(async |server, _| {
        server.ok(&["account", "create", "--set", "name=Labs"]).await;
        let table = server.ok(&["audit", "list", "--action", "account.create"]).await;
        let row = table.lines().nth(1).unwrap_or_default();
        assert!(
            row.contains("account.create") && row.contains(OWNER) && row.contains("Labs"),
            "{table}"
        );
        let out = server.home.join("log.ndjson");
        server
            .ok(&["audit", "export", "--out", path(&out), "--account", "Labs"])
            .await;
        let text = std::fs::read_to_string(&out).unwrap();
        let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["action"], "account.create");
        let csv = server.ok(&["audit", "export", "--format", "csv"]).await;
        assert!(csv.lines().count() > 1 && csv.contains("account.create"), "{csv}");
        let id = first["id"].as_str().unwrap();
        assert!(server.ok(&["audit", "get", id]).await.contains("account.create"));
        let tail = server
            .ok(&["audit", "tail", "-n", "1", "--action", "account."])
            .await;
        assert!(
            tail.contains("account.create") && tail.lines().count() == 1,
            "{tail}"
        );
    })
    .await;
}

#[tokio::test]
async fn completion_and_topics_know_every_command() {
    on_each(async |server, _| {
        for shell in ["bash", "zsh", "fish"] {
            let script = server.ok(&["completion", shell]).await;
            for word in ["service-tokens", "apply", "managed", "rotate"] {
                assert!(word == "managed" || script.contains(word), "{shell}: {word}");
            }
        }
        assert!(server.ok(&["topics"]).await.contains("exit-codes"));
        assert!(server.ok(&["topics", "code"]).await.contains("--prune"));
        let help = server.shell().run(&["app", "update", "--help"]).await;
        assert!(
            help.err.contains("--dry-run") && help.err.contains("--if-match"),
            "{}",
            help.err
        );
    })
    .await;
}

//! The first command of a deployment: what is wrong with it is said before anything is written.

use crate::world::Place;

const WHO: [&str; 5] = ["setup", "--organisation", "Acme", "--owner", "owner@acme.example"];

#[tokio::test]
async fn a_setup_that_is_refused_leaves_nothing() {
    for (engine, database) in testkit::databases().await {
        let place = Place::new(database);
        for (args, words) in [
            (
                [
                    "setup",
                    "--organisation",
                    "Acme",
                    "--owner",
                    "owner@acme.example",
                    "--slug",
                    "Acme Inc",
                ],
                "lower-case",
            ),
            (
                [
                    "setup",
                    "--organisation",
                    "Acme",
                    "--owner",
                    "nobody",
                    "--slug",
                    "acme",
                ],
                "not an e-mail address",
            ),
        ] {
            let said = place.run(&args).refused();
            assert!(said.contains(words), "{engine}: {said}");
            assert!(!place.key.exists(), "{engine}: a key was written");
        }
        place.run(&[&WHO[..], &["--slug", "acme"]].concat()).well();
        assert!(place.key.exists());
        place.remove().await;
    }
}

#[tokio::test]
async fn another_organisation_is_made_only_where_that_is_said() {
    for mut place in Place::each().await {
        let another = [&WHO[..], &["--slug", "other"]].concat();
        let said = place.run(&another).refused();
        assert!(
            said.contains("Acme (acme)") && said.contains("--another"),
            "{said}"
        );
        place.run(&[&another[..], &["--another"]].concat()).well();
        place.settings.push(("CHATELAINE_MASTER_KEY", String::new()));
        let said = place.run(&["doctor"]).refused();
        assert!(said.contains("CHATELAINE_MASTER_KEY is set and empty"), "{said}");
        place.remove().await;
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_said_by_doctor() {
    let mut place = Place::each().await.remove(0);
    for (name, value, words) in [
        (
            "CHATELAINE_LISTEN",
            "[\"127.0.0.1\"]",
            "is not an address and a port",
        ),
        (
            "CHATELAINE_ALLOW_INTERNAL",
            "[\"10.0.0.0/8\"]",
            "allow_internal: \"10.0.0.0/8\"",
        ),
        (
            "CHATELAINE_TRUSTED_PROXIES",
            "[\"proxy\"]",
            "CHATELAINE_TRUSTED_PROXIES: \"proxy\" is neither",
        ),
    ] {
        place.settings = vec![(name, value.to_owned())];
        let said = place.run(&["doctor"]).refused();
        assert!(said.contains(words), "{said}");
    }
    place.remove().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_is_not_one_that_does_not_answer() {
    let Ok(server) = std::env::var("TEST_DATABASE_URL") else {
        return;
    };
    let mut place = Place::each().await.remove(0);
    let (at, _) = server.rsplit_once('/').unwrap();
    place.settings = vec![(
        "CHATELAINE_DATABASE_URL",
        format!("{at}/there_is_no_such_database"),
    )];
    let said = place.run(&["doctor"]).refused();
    assert!(said.contains("there is no such database at the server"), "{said}");
    place.remove().await;
}

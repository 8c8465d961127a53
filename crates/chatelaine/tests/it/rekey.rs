//! Changing the master key.

use crate::world::Place;
use std::time::Duration;

/// A place whose configuration names a new key, too, which is not there yet.
fn with_next(mut place: Place) -> Place {
    let next = place.at("next");
    place.settings.push(("CHATELAINE_NEXT_MASTER_KEY_FILE", next));
    place
}

#[tokio::test]
async fn the_master_key_is_changed_while_serving() {
    for place in Place::each().await {
        let said = place.run(&["rekey"]).refused();
        assert!(said.contains("no new master key"), "{said}");
        let mut place = with_next(place);
        let file = place.at("before.backup");
        place.run(&["backup", &file]).well();
        let said = place.run(&["rekey", "--make"]).well();
        assert!(said.contains("every instance"), "{said}");
        let said = place.run(&["rekey", "--make"]).refused();
        assert!(said.contains("cannot create"), "{said}");
        let serving = place.serve();
        let said = place.run(&["rekey"]).well();
        assert!(said.contains("values are sealed under the new key"), "{said}");
        let said = place.run(&["rekey"]).well();
        assert!(said.contains("already"), "{said}");
        // Until the configuration says the new one only, either order does.
        place.run(&["doctor"]).well();
        drop(serving);
        let after = place.at("after.backup");
        place.run(&["backup", &after]).well();
        place.settings.clear();
        let said = place.run(&["doctor"]).refused();
        assert!(said.contains("not the one under which"), "{said}");
        std::fs::copy(place.at("next"), &place.key).unwrap();
        let said = place.run(&["doctor"]).well();
        assert!(said.contains("rollback       ok"), "{said}");
        place.run(&["audit", "verify"]).well();
        drop(place.serve());
        for other in place.others().await {
            let said = other.run(&["restore", "--check", &file]).refused();
            assert!(said.contains("taken under the master key"), "{said}");
            other.run(&["restore", &after]).well();
            other.run(&["doctor"]).well();
            other.remove().await;
        }
        place.remove().await;
    }
}

#[tokio::test]
async fn a_change_of_the_master_key_that_was_killed_goes_on() {
    for place in Place::each().await {
        let place = with_next(place);
        place.run(&["rekey", "--make"]).well();
        // While it waits for servers to follow: the database is under the new key, and nothing else is yet.
        let mut killed = place.begin(&["rekey"]);
        std::thread::sleep(Duration::from_secs(3));
        killed.kill().unwrap();
        killed.wait().unwrap();
        let said = place.run(&["doctor"]).well();
        assert!(said.contains("not finished"), "{said}");
        let said = place.run(&["backup", &place.at("a")]).refused();
        assert!(said.contains("finish that first"), "{said}");
        let said = place.run(&["rekey"]).well();
        assert!(said.contains("going on from before"), "{said}");
        let said = place.run(&["doctor"]).well();
        assert!(!said.contains("not finished"), "{said}");
        place.remove().await;
    }
}

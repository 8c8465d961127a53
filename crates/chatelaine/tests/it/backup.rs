//! Backup and restore.

use crate::world::Place;

#[tokio::test]
async fn a_backup_taken_while_serving_is_restored_into_an_empty_place_and_served() {
    for place in Place::each().await {
        let serving = place.serve();
        let file = place.at("a.backup");
        let said = place.run(&["backup", &file]).well();
        assert!(said.contains("audit log") && said.contains("schema"), "{said}");
        let said = place.run(&["backup", &file]).refused();
        assert!(said.contains("is there already"), "{said}");
        drop(serving);
        // Not over what is there.
        let said = place.run(&["restore", &file]).refused();
        assert!(said.contains("not empty"), "{said}");
        for other in place.others().await {
            let said = other.run(&["restore", "--check", &file]).well();
            assert!(said.contains("whole"), "{said}");
            let said = other.run(&["restore", &file]).well();
            assert!(
                said.contains("2 signing keys") && said.contains("passwords"),
                "{said}"
            );
            let said = other.run(&["doctor"]).well();
            assert!(
                said.contains("rollback       ok") && said.contains("restored on"),
                "{said}"
            );
            let said = other.run(&["audit", "verify"]).well();
            assert!(said.contains("unbroken"), "{said}");
            drop(other.serve());
            other.run(&["audit", "verify"]).well();
            // A second time it is not an empty place any more.
            let said = other.run(&["restore", &file]).refused();
            assert!(said.contains("not empty"), "{said}");
            other.remove().await;
        }
        place.remove().await;
    }
}

#[tokio::test]
async fn a_damaged_backup_and_another_master_key_are_told_in_words() {
    for place in Place::each().await {
        let file = place.at("a.backup");
        place.run(&["backup", &file]).well();
        for other in place.others().await {
            let damaged = other.at("damaged.backup");
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&damaged, bytes).unwrap();
            let said = other.run(&["restore", &damaged]).refused();
            assert!(
                said.contains("damaged") && said.contains("nothing was restored"),
                "{said}"
            );
            let right = std::fs::read(&other.key).unwrap();
            let key = store::MasterKey::generate().unwrap();
            std::fs::write(&other.key, key.to_text().as_bytes()).unwrap();
            let said = other.run(&["restore", &file]).refused();
            assert!(said.contains("taken under the master key"), "{said}");
            std::fs::write(&other.key, right).unwrap();
            other.run(&["restore", &file]).well();
            other.remove().await;
        }
        place.remove().await;
    }
}

#[tokio::test]
async fn a_database_that_went_back_in_time_is_not_served_until_that_is_accepted() {
    for place in Place::each().await {
        let copy = place.at("copy.db");
        if let Some(file) = place.file() {
            // What people do: the server is stopped, the files copied.
            for end in ["", "-wal"] {
                let from = format!("{}{end}", file.display());
                std::fs::copy(from, format!("{copy}{end}")).unwrap();
            }
        }
        drop(place.serve());
        place
            .run(&["owner", "reset", "--email", "owner@acme.example"])
            .well();
        drop(place.serve());
        let mark = std::fs::read(place.mark()).unwrap();
        match place.file() {
            Some(file) => {
                let _ = std::fs::remove_file(format!("{}-shm", file.display()));
                for end in ["", "-wal"] {
                    let to = format!("{}{end}", file.display());
                    std::fs::copy(format!("{copy}{end}"), to).unwrap();
                }
            }
            None => {
                let sql = "UPDATE change_counter SET seq = 0";
                place.database.execute(sql).await;
            }
        }
        for command in ["serve", "doctor"] {
            let said = place.run(&[command]).refused();
            assert!(
                said.contains("went back in time") && said.contains("--accept-rollback"),
                "{said}"
            );
        }
        assert_eq!(std::fs::read(place.mark()).unwrap(), mark);
        let said = place.run(&["restore", "--accept-rollback"]).well();
        assert!(said.contains("system.restored"), "{said}");
        let said = place.run(&["doctor"]).well();
        assert!(said.contains("rollback       ok"), "{said}");
        drop(place.serve());
        // A mark of somebody else's is told, too.
        std::fs::write(place.mark(), b"{}").unwrap();
        let said = place.run(&["serve"]).refused();
        assert!(said.contains("not written under this master key"), "{said}");
        place.remove().await;
    }
}

//! How a database is noticed that went back in time without a restore.

use crate::backup::{Folder, take, words};
use crate::world::on_each;
use store::backup::{self, Cause, Mark};
use store::{MasterKey, Vault};
use testkit::databases;

#[tokio::test]
async fn a_database_that_went_back_in_time_is_noticed_by_its_mark() {
    on_each(async |w| {
        let folder = Folder::new();
        let vault = w.store.vault();
        let file = folder.at("mark");
        assert_eq!(Mark::read(&file, vault).unwrap(), None);
        let early = folder.at("early");
        take(w, &early).await;
        w.store.record(w.event("test.event")).await.unwrap();
        let mark = Mark::of(&w.store).await.unwrap();
        mark.write(&file, vault).unwrap();
        let read = Mark::read(&file, vault).unwrap().unwrap();
        assert_eq!(read, mark);
        // It goes on.
        assert_eq!(backup::went_back(&w.store, &read).await.unwrap().1, None);
        w.account("Labs").await;
        assert_eq!(backup::went_back(&w.store, &read).await.unwrap().1, None);
        let newer = Mark::of(&w.store).await.unwrap();
        assert!(newer.changes > mark.changes && !newer.same(&mark));

        // An older database, put back by hand: as far as it was, and further than that in other ways.
        let (_, place) = databases().await.pop().unwrap();
        backup::load(&place.options(&w.key, &w.clock), &early)
            .await
            .unwrap();
        place
            .execute("DELETE FROM meta WHERE key = 'restore_unfinished'")
            .await;
        let old = place.open(&w.key, &w.clock).await.unwrap();
        let told = backup::went_back(&old, &read).await.unwrap().1.unwrap();
        assert!(told.contains("audit log"), "{told}");
        let told = backup::went_back(&old, &newer).await.unwrap().1.unwrap();
        assert!(told.contains("change"), "{told}");
        for _ in 0..10 {
            old.record(w.event("test.other")).await.unwrap();
        }
        let told = backup::went_back(&old, &read).await.unwrap().1;
        assert!(told.is_some_and(|told| told.contains("another one")));
        // What is accepted is dealt with as what is restored, and the mark is content.
        old.forget_what_lived(Cause::Accepted, Some(&newer))
            .await
            .unwrap();
        assert_eq!(backup::went_back(&old, &read).await.unwrap().1, None);
        assert_eq!(backup::went_back(&old, &newer).await.unwrap().1, None);
        old.close().await;
        place.remove().await;

        // What somebody else wrote, or altered, is no mark.
        let other = Vault::new(&MasterKey::generate().unwrap()).unwrap();
        assert!(words(Mark::read(&file, &other)).contains("not written under this master key"));
        let text = std::fs::read_to_string(&file).unwrap();
        let lower = text.replace(&format!(":{},", mark.changes), ":0,");
        assert_ne!(lower, text);
        std::fs::write(&file, lower).unwrap();
        assert!(words(Mark::read(&file, vault)).contains("altered"));
    })
    .await;
}

#[tokio::test]
async fn an_instance_whose_database_went_back_in_time_denies() {
    on_each(async |w| {
        assert!(w.store.is_current());
        w.store.deny("the database went back in time");
        assert!(!w.store.is_current());
        let faults = w.store.readiness().await.faults;
        assert_eq!(faults, ["the database went back in time"]);
    })
    .await;
}

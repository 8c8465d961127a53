//! Failed attempts, in lanes.

use crate::world::{World, on_each};
use store::attempt::{self, Attempt, Pace, Paces};

const PACES: Paces = Paces {
    place: Pace::Growing { free: 3, longest: 4 },
    strangers: Pace::Steady { burst: 5, every: 60 },
};

const fn at(place: &str, known: bool) -> Attempt<'_> {
    Attempt {
        subject: "usr_1",
        act: "password",
        place,
        known,
    }
}

async fn fail(w: &World, attempt: Attempt<'_>) -> bool {
    let mut tx = w.store.begin().await.unwrap();
    let counted = attempt::count(&mut tx, &attempt, PACES).await.unwrap();
    if counted {
        tx.commit_housekeeping().await.unwrap();
    }
    counted
}

async fn is_open(w: &World, attempt: Attempt<'_>) -> bool {
    let now = w.store.clock().now();
    attempt::is_open(&w.store, &attempt, PACES, now).await.unwrap()
}

#[tokio::test]
async fn each_place_has_its_lane_and_waits_longer_and_longer() {
    on_each(async |w| {
        let here = at("n:here", true);
        for _ in 0..3 {
            assert!(is_open(w, here).await && fail(w, here).await);
        }
        assert!(!is_open(w, here).await && !fail(w, here).await);
        assert!(is_open(w, at("n:there", true)).await, "another place");
        for minutes in [1, 2, 4, 4] {
            w.clock.advance(minutes * 60 - 1);
            assert!(!is_open(w, here).await, "{minutes}");
            w.clock.advance(1);
            assert!(is_open(w, here).await && fail(w, here).await, "{minutes}");
        }
        w.write(async |tx| attempt::forget(tx, "usr_1", "n:here").await)
            .await
            .unwrap();
        assert!(is_open(w, here).await);
    })
    .await;
}

#[tokio::test]
async fn all_strangers_together_are_slow_and_known_places_do_not_wait_for_them() {
    on_each(async |w| {
        for n in 0..5 {
            assert!(fail(w, at(&format!("n:{n}"), false)).await);
        }
        let next = at("n:next", false);
        assert!(!is_open(w, next).await && !fail(w, next).await);
        assert!(
            is_open(w, at("n:next", true)).await,
            "what was not counted is not held"
        );
        assert!(fail(w, at("n:home", true)).await);
        w.clock.advance(60);
        assert!(is_open(w, next).await && fail(w, next).await);
        assert!(
            !fail(w, at("n:other", false)).await,
            "one each minute, for all of them"
        );
        // Another person, another act.
        let other = Attempt {
            subject: "usr_2",
            ..next
        };
        assert!(is_open(w, other).await);
        let other = Attempt {
            act: "factor",
            ..next
        };
        assert!(is_open(w, other).await);
    })
    .await;
}

#[tokio::test]
async fn places_are_known_for_a_while_and_only_the_last_ones() {
    on_each(async |w| {
        let known = async |place: &'static str| {
            let now = w.store.clock().now();
            attempt::known(&w.store, "usr_1", &["b:none", place], now)
                .await
                .unwrap()
        };
        let note = async |place: &str| {
            w.write(async |tx| attempt::note_known(tx, "usr_1", place).await)
                .await
                .unwrap();
            w.clock.advance(1);
        };
        assert_eq!(known("n:home").await, None);
        note("n:home").await;
        assert_eq!(known("n:home").await, Some("n:home"));
        for n in 0..19 {
            note(&format!("n:{n}")).await;
        }
        note("n:home").await;
        note("n:last").await;
        assert_eq!(known("n:home").await, Some("n:home"));
        assert_eq!(known("n:0").await, None, "the oldest went");
        w.clock.advance(90 * 86_400);
        assert_eq!(known("n:home").await, None);
    })
    .await;
}

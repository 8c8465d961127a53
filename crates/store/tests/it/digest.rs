//! What somebody changes who can write the database is noticed: by the MAC of the head at once, by digests that are
//! kept elsewhere for good.

use crate::world::{World, on_each};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;
use store::audit::{self, Break, Digest, DigestFile, Digests, Filter, Order, PublicKey, Verified};
use store::{MasterKey, Vault};
use wire::{AuditEvent, AuditMcp, AuditResponse, AuditTarget, EventId, Outcome};

async fn verify(w: &World, digests: &[Digest]) -> Verified {
    audit::verify(&w.store, &w.org, digests).await.unwrap()
}

async fn broken(w: &World, digests: &[Digest]) -> Option<Break> {
    verify(w, digests).await.broken
}

async fn events(w: &World) -> Vec<AuditEvent> {
    let all = (Order::Oldest, None);
    audit::list(&w.store, &w.org, &Filter::default(), all, 1000)
        .await
        .unwrap()
}

async fn record(w: &World, count: usize) {
    for _ in 0..count {
        w.store.record(w.event("test.event")).await.unwrap();
    }
}

fn key(w: &World) -> PublicKey {
    PublicKey::of(&Vault::new(&w.key).unwrap()).unwrap()
}

fn path() -> PathBuf {
    std::env::temp_dir().join(format!("{}.digests", EventId::fresh()))
}

/// The digests of this moment.
async fn digests(w: &World) -> Vec<Digest> {
    let path = path();
    let mut file = DigestFile::open(path.clone(), &w.store).unwrap();
    assert_eq!(file.write(&w.store).await.unwrap(), 1);
    let read = Digests::read(&path, &key(w)).unwrap();
    std::fs::remove_file(path).unwrap();
    assert_eq!(read.bad, [0usize; 0]);
    read.good
}

/// Writes an event over and computes the chain anew, as somebody can who may write the database.
async fn rewrite(w: &World, seq: i64) {
    let mut hash = String::new();
    for mut event in events(w).await {
        if event.seq == seq {
            event.action = "test.forged".into();
        }
        let body = serde_json::to_string(&event).unwrap();
        hash = audit::chain(&hash, &body);
        let (body, seq, action) = (body.replace('\'', "''"), event.seq, &event.action);
        let sql = format!(
            "UPDATE audit_events SET body = '{body}', hash = '{hash}', action = '{action}' WHERE seq = {seq}"
        );
        w.database.execute(&sql).await;
    }
    w.database
        .execute(&format!("UPDATE audit_heads SET hash = '{hash}'"))
        .await;
}

#[tokio::test]
async fn a_body_altered_with_its_chain_computed_anew_is_noticed_at_once_and_for_good() {
    on_each(async |w| {
        record(w, 5).await;
        let first = digests(w).await;
        record(w, 5).await;
        let both = [first.clone(), digests(w).await].concat();
        assert_eq!(broken(w, &both).await, None);
        rewrite(w, 8).await;
        // Without digests the head alone tells.
        assert_eq!(broken(w, &[]).await, Some(Break::Head(10)));
        // Digests say where, as far as they can.
        let rewritten = Break::Rewritten {
            digest: both[1].time,
            from: 6,
            to: 10,
        };
        assert_eq!(broken(w, &both).await, Some(rewritten.clone()));
        assert_eq!(verify(w, &both).await.vouched, Some((5, first[0].time)));
        // What is appended afterwards does not make it good.
        record(w, 3).await;
        assert_eq!(broken(w, &[]).await, Some(Break::Head(13)));
        assert_eq!(broken(w, &both).await, Some(rewritten));
        // Nor does this server vouch for it.
        let path = path();
        let mut file = DigestFile::open(path.clone(), &w.store).unwrap();
        assert_eq!(file.write(&w.store).await.unwrap(), 0);
        assert!(!path.exists());
    })
    .await;
}

#[tokio::test]
async fn a_tail_cut_together_with_its_head_is_noticed() {
    on_each(async |w| {
        record(w, 7).await;
        w.database
            .execute("CREATE TABLE kept AS SELECT * FROM audit_heads")
            .await;
        record(w, 3).await;
        let known = digests(w).await;
        w.database.execute("DELETE FROM audit_events WHERE seq > 7").await;
        let sql = "UPDATE audit_heads SET seq = k.seq, hash = k.hash, mac = k.mac FROM kept k \
                   WHERE k.org = audit_heads.org";
        w.database.execute(sql).await;
        let behind = Break::Behind {
            digest: known[0].time,
            knows: 10,
            has: 7,
        };
        assert_eq!(broken(w, &known).await, Some(behind.clone()));
        assert!(
            behind.to_string().contains("an older backup restored"),
            "{behind}"
        );
        // The log that goes on from there is not the one that the digest saw.
        record(w, 5).await;
        let rewritten = Break::Rewritten {
            digest: known[0].time,
            from: 1,
            to: 10,
        };
        assert_eq!(broken(w, &known).await, Some(rewritten));
    })
    .await;
}

#[tokio::test]
async fn a_head_made_up_with_a_cut_tail_is_noticed_without_digests() {
    on_each(async |w| {
        record(w, 10).await;
        w.database.execute("DELETE FROM audit_events WHERE seq > 7").await;
        let sql = "UPDATE audit_heads SET seq = 7, hash = (SELECT hash FROM audit_events WHERE seq = 7)";
        w.database.execute(sql).await;
        assert_eq!(broken(w, &[]).await, Some(Break::Head(7)));
    })
    .await;
}

#[tokio::test]
async fn every_column_that_searches_read_is_compared_with_the_event() {
    on_each(async |w| {
        let mut event = w.event(audit::GATEWAY_REQUEST);
        event.account = Some(w.account.id.clone());
        event.actor.user = Some(w.user.id.clone());
        event.actor.client = Some(w.client.id.clone());
        event.actor.grant = Some(wire::GrantId::fresh());
        event.outcome = Outcome::Denied;
        event.target = Some(AuditTarget {
            app: Some(w.app.id.clone()),
            user: Some(w.user.id.clone()),
            ..audit::target("app", &w.app.id, None)
        });
        event.mcp = Some(AuditMcp {
            method: "tools/call".into(),
            // PostgreSQL keeps no NUL.
            tool: Some("se\0arch".into()),
            arguments_sha256: None,
        });
        record(w, 2).await;
        w.store.record(event).await.unwrap();
        record(w, 1).await;
        assert_eq!(broken(w, &[]).await, None);
        w.database
            .execute("CREATE TABLE kept AS SELECT * FROM audit_events")
            .await;
        for (column, value) in [
            ("id", "'evt_other'"),
            ("time", "time + 1"),
            ("account", "NULL"),
            ("action", "'gateway.other'"),
            ("outcome", "'allowed'"),
            ("user_id", "NULL"),
            ("client", "'cli_other'"),
            ("grant_id", "NULL"),
            ("app", "NULL"),
            ("tool", "'other'"),
            ("target_user", "NULL"),
        ] {
            let alter = format!("UPDATE audit_events SET {column} = {value} WHERE seq = 3");
            assert_eq!(w.database.execute(&alter).await, 1);
            let found = verify(w, &[]).await;
            assert_eq!((found.checked, found.broken), (2, Some(Break::Column(3, column))));
            let back = format!(
                "UPDATE audit_events SET {column} = (SELECT k.{column} FROM kept k WHERE k.seq = 3) WHERE seq = 3"
            );
            w.database.execute(&back).await;
        }
        assert_eq!(broken(w, &[]).await, None);
        // An event that was hidden from its organisation is missing there.
        w.database
            .execute("UPDATE audit_events SET org = 'org_other' WHERE seq = 3")
            .await;
        assert_eq!(broken(w, &[]).await, Some(Break::Missing(3)));
    })
    .await;
}

#[tokio::test]
async fn events_behind_the_head_are_noticed() {
    on_each(async |w| {
        record(w, 3).await;
        let sql = "INSERT INTO audit_events (org, seq, id, time, action, outcome, body, hash) \
                   SELECT org, 9, 'evt_made_up', time, action, outcome, body, hash FROM audit_events WHERE seq = 3";
        w.database.execute(sql).await;
        assert_eq!(broken(w, &[]).await, Some(Break::Stray(9)));
    })
    .await;
}

/// Requests that were let through, each with its answer except the last.
async fn answered(w: &World, count: usize) {
    for n in 0..count {
        let mut event = w.event(audit::GATEWAY_REQUEST);
        event.outcome = Outcome::Allowed;
        let request = w.store.record_request(event).await.unwrap();
        if n + 1 < count {
            let response = AuditResponse {
                status: 200,
                micros: 1000 + i64::try_from(n).unwrap(),
            };
            w.store.record_response(request, response);
        }
    }
    for _ in 0..200 {
        let unknown = events(w).await.iter().filter(|e| e.outcome_unknown).count();
        if unknown == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("answers were not written");
}

#[tokio::test]
async fn answers_that_were_altered_made_up_or_taken_away_are_noticed() {
    on_each(async |w| {
        answered(w, 6).await;
        let found = verify(w, &[]).await;
        assert_eq!((found.checked, found.answers, found.broken), (6, 5, None));
        let known = digests(w).await;
        assert_eq!(known[0].answers, 5);
        assert_eq!(broken(w, &known).await, None);
        w.database
            .execute("CREATE TABLE kept AS SELECT * FROM audit_responses")
            .await;
        let nth = "(SELECT event FROM kept WHERE n = 3)";
        for (sql, expected) in [
            (
                format!("UPDATE audit_responses SET status = 500 WHERE event = {nth}"),
                Break::Answer(3),
            ),
            (
                format!("UPDATE audit_responses SET micros = 1 WHERE event = {nth}"),
                Break::Answer(3),
            ),
            // As if it were from before there was a chain.
            (
                format!("UPDATE audit_responses SET n = NULL, hash = NULL WHERE event = {nth}"),
                Break::Answer(3),
            ),
            (
                format!("DELETE FROM audit_responses WHERE event = {nth}"),
                Break::AnswersMissing(3),
            ),
            (
                "INSERT INTO audit_responses (event, status, micros) \
                 SELECT id, 200, 1 FROM audit_events WHERE seq = 6"
                    .to_owned(),
                Break::Answer(6),
            ),
            (
                "INSERT INTO audit_responses (event, status, micros, n, hash) \
                 SELECT id, 200, 1, 5, 'x' FROM audit_events WHERE seq = 6"
                    .to_owned(),
                Break::Answer(6),
            ),
            // Beyond all that the head knows.
            (
                "INSERT INTO audit_responses (event, status, micros, n, hash) \
                 SELECT id, 200, 1, 1000000000, 'x' FROM audit_events WHERE seq = 6"
                    .to_owned(),
                Break::Answer(6),
            ),
        ] {
            assert_eq!(w.database.execute(&sql).await, 1, "{sql}");
            assert_eq!(broken(w, &[]).await, Some(expected), "{sql}");
            w.database.execute("DELETE FROM audit_responses").await;
            w.database
                .execute("INSERT INTO audit_responses SELECT * FROM kept")
                .await;
            assert_eq!(broken(w, &known).await, None);
        }
    })
    .await;
}

#[tokio::test]
async fn answers_whose_chain_was_computed_anew_are_noticed() {
    on_each(async |w| {
        answered(w, 3).await;
        let known = digests(w).await;
        // The last one away, and the head as if there had never been one.
        w.database.execute("DELETE FROM audit_responses WHERE n = 2").await;
        let sql = "UPDATE audit_heads SET answers = 1, answers_hash = (SELECT hash FROM audit_responses WHERE n = 1)";
        w.database.execute(sql).await;
        assert_eq!(broken(w, &[]).await, Some(Break::Head(3)));
        let behind = Break::Behind {
            digest: known[0].time,
            knows: 2,
            has: 1,
        };
        assert_eq!(broken(w, &known).await, Some(behind));
    })
    .await;
}

#[tokio::test]
async fn a_log_from_before_the_seals_verifies_and_says_from_when_answers_are_covered() {
    on_each(async |w| {
        answered(w, 3).await;
        // As the migration leaves it.
        w.database
            .execute("UPDATE audit_responses SET n = NULL, hash = NULL")
            .await;
        w.database
            .execute("UPDATE audit_heads SET answers = 0, answers_hash = '', mac = '', answers_after = seq")
            .await;
        assert_eq!(broken(w, &[]).await, Some(Break::Head(3)));
        w.database
            .execute("DELETE FROM meta WHERE key = 'audit_heads_sealed'")
            .await;
        let upgraded = w.other_instance().await;
        let found = audit::verify(&upgraded, &w.org, &[]).await.unwrap();
        assert_eq!((found.checked, found.answers, found.broken), (3, 0, None));
        upgraded.close().await;
        // Answers to what came afterwards are covered.
        answered_once(w).await;
        assert_eq!(broken(w, &[]).await, None);
        w.database
            .execute("UPDATE audit_responses SET n = NULL WHERE n = 1")
            .await;
        assert_eq!(broken(w, &[]).await, Some(Break::Answer(4)));
        // The seal is made once: nobody gets a head sealed by emptying it.
        w.database.execute("UPDATE audit_heads SET mac = ''").await;
        let again = w.other_instance().await;
        w.database
            .execute("UPDATE audit_responses SET n = 1 WHERE n IS NULL AND hash IS NOT NULL")
            .await;
        assert_eq!(broken(w, &[]).await, Some(Break::Head(4)));
        again.close().await;
    })
    .await;
}

async fn answered_once(w: &World) {
    let mut event = w.event(audit::GATEWAY_REQUEST);
    event.outcome = Outcome::Allowed;
    let id = event.id.clone();
    let request = w.store.record_request(event).await.unwrap();
    let response = AuditResponse {
        status: 204,
        micros: 7,
    };
    w.store.record_response(request, response);
    while audit::get(&w.store, &w.org, &id).await.unwrap().outcome_unknown {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_digest_file_grows_with_the_log_and_takes_nobody_elses_lines() {
    on_each(async |w| {
        let path = path();
        let mut file = DigestFile::open(path.clone(), &w.store).unwrap();
        record(w, 2).await;
        assert_eq!(file.write(&w.store).await.unwrap(), 1);
        // Nothing happened: nothing to say.
        assert_eq!(file.write(&w.store).await.unwrap(), 0);
        record(w, 1).await;
        assert_eq!(file.write(&w.store).await.unwrap(), 1);
        // Another run goes on with the file.
        let mut file = DigestFile::open(path.clone(), &w.store).unwrap();
        assert_eq!(file.write(&w.store).await.unwrap(), 0);
        record(w, 1).await;
        assert_eq!(file.write(&w.store).await.unwrap(), 1);
        let read = Digests::read(&path, &key(w)).unwrap();
        let known: Vec<_> = read.good.iter().map(|digest| digest.seq).collect();
        assert_eq!(known, [2, 3, 4]);
        let found = verify(w, &read.good).await;
        assert_eq!((found.checked, found.digests, found.broken), (4, 3, None));

        let other = PublicKey::of(&Vault::new(&MasterKey::generate().unwrap()).unwrap()).unwrap();
        assert_eq!(Digests::read(&path, &other).unwrap().bad, [1, 2, 3]);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("\"seq\":3", "\"seq\":4", 1)).unwrap();
        assert_eq!(Digests::read(&path, &key(w)).unwrap().bad, [2]);
        // What a killed writer left spoils nothing but itself.
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        let mut file = DigestFile::open(path.clone(), &w.store).unwrap();
        assert_eq!(file.write(&w.store).await.unwrap(), 1);
        let read = Digests::read(&path, &key(w)).unwrap();
        assert_eq!((read.good.len(), read.bad.len(), read.torn), (3, 0, vec![3]));
        assert_eq!(key(w).to_string().parse::<PublicKey>().unwrap(), key(w));
        std::fs::remove_file(path).unwrap();
    })
    .await;
}

fn copy(events: &[AuditEvent]) -> String {
    let mut text = String::new();
    for event in events {
        writeln!(text, "{}", serde_json::to_string(event).unwrap()).unwrap();
    }
    text
}

#[tokio::test]
async fn an_export_is_verified_far_from_the_database() {
    on_each(async |w| {
        answered(w, 4).await;
        let first = digests(w).await;
        record(w, 3).await;
        let known = [first, digests(w).await].concat();
        record(w, 1).await;
        let all = events(w).await;
        let check = |events: &[AuditEvent]| {
            let (org, found) = audit::verify_copy(copy(events).as_bytes(), &known).unwrap();
            assert!(org.is_none_or(|org| org == w.org));
            found
        };
        let found = check(&all);
        assert_eq!((found.checked, found.digests, found.broken), (8, 2, None));
        assert_eq!(found.vouched, Some((7, known[1].time)));
        // What follows an earlier export begins behind what a digest knows.
        assert_eq!(check(&all[4..]).broken, None);
        assert_eq!(check(&all[3..]).broken, Some(Break::NoBeginning(4)));
        let mut altered = all.clone();
        altered[5].action = "test.other".into();
        let rewritten = Break::Rewritten {
            digest: known[1].time,
            from: 5,
            to: 7,
        };
        assert_eq!(check(&altered).broken, Some(rewritten));
        let mut filtered = all.clone();
        filtered.remove(2);
        assert_eq!(check(&filtered).broken, Some(Break::Missing(3)));
        let garbage = format!("{}garbage\n", copy(&all[..2]));
        let (_, found) = audit::verify_copy(garbage.as_bytes(), &known).unwrap();
        assert_eq!(found.broken, Some(Break::Unreadable(3)));
    })
    .await;
}

#[tokio::test]
async fn what_may_still_change_is_held_back_from_who_reads_oldest_first() {
    on_each(async |w| {
        let settled = async || {
            let filter = Filter {
                settled_at: Some(w.clock.now()),
                ..Filter::default()
            };
            let all = (Order::Oldest, None);
            let events = audit::list(&w.store, &w.org, &filter, all, 100).await.unwrap();
            events
                .into_iter()
                .map(|e| (e.seq, e.outcome_unknown))
                .collect::<Vec<_>>()
        };
        let request = || {
            let mut event = w.event(audit::GATEWAY_REQUEST);
            event.outcome = Outcome::Allowed;
            event
        };
        record(w, 1).await;
        let slow = w.store.record_request(request()).await.unwrap();
        let hanging = w.store.record_request(request()).await.unwrap();
        record(w, 1).await;
        assert_eq!(settled().await, [(1, false)]);
        let response = AuditResponse {
            status: 200,
            micros: 1,
        };
        w.store.record_response(slow, response.clone());
        for _ in 0..200 {
            if settled().await.len() > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(settled().await, [(1, false), (2, false)]);
        // Nobody waits for ever, and what was given out then stays so.
        w.clock.advance(audit::ANSWERED_WITHIN + 11);
        let unknown = [(1, false), (2, false), (3, true), (4, false)];
        assert_eq!(settled().await, unknown);
        w.store.record_response(hanging, response);
        record(w, 1).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(settled().await[..4], unknown);
        assert_eq!(broken(w, &[]).await, None);
    })
    .await;
}

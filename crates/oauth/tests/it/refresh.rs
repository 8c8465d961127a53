//! Refresh tokens that count their generation.

use crate::token::{all, text};
use crate::world::{World, on_each};
use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use wire::{GrantId, GrantState};

/// A client with the first tokens of a grant: access and refresh token.
async fn begun(w: &World) -> (String, GrantId, String) {
    let browser = w.employee().await;
    let id = w.register().await;
    let tokens = w.tokens(&browser, &id).await;
    let grant = w.claims(&text(&tokens, "access_token")).grant;
    (id, grant, text(&tokens, "refresh_token"))
}

/// What a refresh token is exchanged for.
async fn next(w: &World, client: &str, token: &str) -> String {
    let answer = w.refresh(client, token, &[]).await.expect(200).json();
    text(&answer, "refresh_token")
}

async fn refused(w: &World, client: &str, token: &str) {
    let answer = w.refresh(client, token, &[]).await;
    answer.expect_error(400, "invalid_grant");
}

async fn is_alive(w: &World, grant: &GrantId) -> bool {
    let grant = store::grant::get(&w.store, &w.org, grant, w.clock.now()).await;
    grant.unwrap().state == GrantState::Active
}

async fn last_reason(w: &World) -> Option<String> {
    w.events("token.refuse").await.pop()?.reason
}

/// How many rows hang on refreshing.
async fn rows(w: &World) -> u64 {
    let mut rows = 0;
    for (table, column) in [("grants", "id"), ("refresh_tokens", "hash"), ("codes", "hash")] {
        let sql = format!("UPDATE {table} SET {column} = {column}");
        rows += testkit::execute(&w.url, &sql).await;
    }
    rows
}

#[tokio::test]
async fn of_a_hundred_parallel_refreshes_at_two_instances_all_get_one_successor() {
    on_each(async |w| {
        let (id, grant, first) = begun(w).await;
        let other = w.beside().await;
        let both = |n| if n % 2 == 0 { w } else { &other };
        let successors = all((0..100).map(|n| next(both(n), &id, &first))).await;
        assert!(
            successors
                .iter()
                .all(|one| *one == successors[0] && *one != first)
        );
        assert_ne!(next(&other, &id, &successors[0]).await, successors[0]);
        assert!(is_alive(w, &grant).await);
        other.store.close().await;
    })
    .await;
}

#[tokio::test]
async fn any_older_token_ends_the_family_for_ever() {
    on_each(async |w| {
        for old in 0..3 {
            let (id, grant, first) = begun(w).await;
            let mut tokens = vec![first];
            for _ in 0..4 {
                tokens.push(next(w, &id, &tokens[tokens.len() - 1]).await);
            }
            if old == 2 {
                w.advance(6 * 86_400).await;
            }
            // Within the window: that is for the one before the last alone.
            refused(w, &id, &tokens[old]).await;
            assert_eq!(last_reason(w).await.as_deref(), Some("refresh_replayed"));
            assert!(!is_alive(w, &grant).await);
            refused(w, &id, &tokens[4]).await;
            let ended = w.events("grant.revoke").await.pop().unwrap();
            assert_eq!(ended.target.unwrap().id, grant.to_string());
            assert_eq!(ended.reason.as_deref(), Some("refresh_replayed"));
        }
    })
    .await;
}

#[tokio::test]
async fn the_window_is_sixty_seconds_from_the_rotation() {
    on_each(async |w| {
        let (id, grant, first) = begun(w).await;
        w.advance(3600).await;
        let second = next(w, &id, &first).await;
        for step in [1, 58] {
            w.advance(step).await;
            // Asking again does not make it longer.
            assert_eq!(next(w, &id, &first).await, second);
        }
        w.advance(1).await;
        refused(w, &id, &first).await;
        assert!(!is_alive(w, &grant).await);
    })
    .await;
}

/// The server dies after it wrote and before it answered.
#[tokio::test]
async fn whoever_lost_the_answer_gets_it_with_the_same_token() {
    on_each(async |w| {
        let (id, grant, first) = begun(w).await;
        let dying = w.beside().await;
        let held = store::refresh::read(&dying.store, &first).await.unwrap().unwrap();
        let mut tx = dying.store.begin().await.unwrap();
        assert!(store::refresh::rotate(&mut tx, &held).await.unwrap());
        tx.commit_housekeeping().await.unwrap();
        dying.store.close().await;
        drop(dying);
        w.advance(59).await;
        let second = next(w, &id, &first).await;
        let third = next(w, &id, &second).await;
        // One that died before it wrote changes nothing.
        let dying = w.beside().await;
        let held = store::refresh::read(&dying.store, &third).await.unwrap().unwrap();
        let mut tx = dying.store.begin().await.unwrap();
        assert!(store::refresh::rotate(&mut tx, &held).await.unwrap());
        drop(tx);
        dying.store.close().await;
        next(w, &id, &third).await;
        assert!(is_alive(w, &grant).await);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_refreshes_leave_no_row_behind() {
    on_each(async |w| {
        let (id, grant, mut token) = begun(w).await;
        let before = rows(w).await;
        assert_eq!(before, 2);
        for n in 0..1000 {
            token = next(w, &id, &token).await;
            w.advance(n % 2).await;
        }
        assert_eq!(rows(w).await, before);
        assert!(is_alive(w, &grant).await);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_token_of_ours_is_unknown_and_one_of_another_client_is_not_its() {
    on_each(async |w| {
        let (id, grant, token) = begun(w).await;
        let (other, _, _) = begun(w).await;
        // The checksum is no secret.
        let (body, _) = token.split_at(token.len() - 6);
        let mut forged = body.to_owned().into_bytes();
        forged[40] = if forged[40] == b'A' { b'B' } else { b'A' };
        let mut forged = String::from_utf8(forged).unwrap();
        forged.push_str(&store::sha256(&forged)[..6]);
        for junk in [
            forged.as_str(),
            "chr_",
            "x",
            &"A".repeat(43),
            &token[1..],
            &format!("{token} "),
        ] {
            refused(w, &id, junk).await;
            assert_eq!(last_reason(w).await.as_deref(), Some("unknown_token"), "{junk}");
        }
        refused(w, &other, &token).await;
        assert!(is_alive(w, &grant).await);
        let second = next(w, &id, &token).await;
        w.advance(3600).await;
        // Nobody else ends the family either.
        refused(w, &other, &token).await;
        next(w, &id, &second).await;
    })
    .await;
}

#[tokio::test]
async fn a_token_that_the_database_did_not_give_out_yet_ends_the_family() {
    on_each(async |w| {
        let (id, grant, first) = begun(w).await;
        let second = next(w, &id, &first).await;
        let back = format!("UPDATE grants SET generation = 1 WHERE id = '{grant}'");
        assert_eq!(testkit::execute(&w.url, &back).await, 1);
        refused(w, &id, &second).await;
        assert_eq!(last_reason(w).await.as_deref(), Some("refresh_ahead"));
        assert!(!is_alive(w, &grant).await);
        refused(w, &id, &first).await;
    })
    .await;
}

/// A grant as an earlier version left it, with these tokens: each with the seconds since it was used.
async fn from_before(w: &World, grant: &GrantId, tokens: &[(&str, Option<i64>)]) {
    let back = format!("UPDATE grants SET generation = 0, rotated_at = NULL WHERE id = '{grant}'");
    testkit::execute(&w.url, &back).await;
    for (token, used) in tokens {
        let used = used.map_or("NULL".to_owned(), |ago| {
            w.clock.now().plus_seconds(-ago).0.to_string()
        });
        let insert = format!(
            "INSERT INTO refresh_tokens (hash, grant_id, client, scopes, created_at, expires_at, used_at) \
             SELECT '{}', id, client, scopes, created_at, expires_at, {used} FROM grants WHERE id = '{grant}'",
            store::sha256(token)
        );
        assert_eq!(testkit::execute(&w.url, &insert).await, 1);
    }
}

#[tokio::test]
async fn tokens_of_the_old_form_are_good_once_and_their_successors_are_of_the_new() {
    on_each(async |w| {
        let (id, grant, _) = begun(w).await;
        let first = store::random_secret("").unwrap();
        // As an earlier version made it.
        let key = w.store.vault().mac_key("refresh");
        let mac = hmac::sign(&key, format!("{first}|{grant}").as_bytes());
        let second = URL_SAFE_NO_PAD.encode(mac);
        from_before(w, &grant, &[(&first, Some(10)), (&second, None)]).await;
        // Whoever was about to lose the answer of the earlier version gets that.
        assert_eq!(next(w, &id, &first).await, second);
        let successors = all((0..20).map(|_| next(w, &id, &second))).await;
        assert!(
            successors
                .iter()
                .all(|one| *one == successors[0] && one.starts_with("chr_"))
        );
        assert_eq!(next(w, &id, &first).await, second);
        let third = next(w, &id, &successors[0]).await;
        w.advance(3600).await;
        let fourth = next(w, &id, &third).await;
        assert!(is_alive(w, &grant).await);
        refused(w, &id, &second).await;
        assert_eq!(last_reason(w).await.as_deref(), Some("refresh_replayed"));
        refused(w, &id, &fourth).await;

        for (used, alive) in [(None, true), (Some(60), false)] {
            let (id, grant, _) = begun(w).await;
            let token = store::random_secret("").unwrap();
            from_before(w, &grant, &[(&token, used)]).await;
            let status = if alive { 200 } else { 400 };
            w.refresh(&id, &token, &[]).await.expect(status);
            assert_eq!(is_alive(w, &grant).await, alive, "used {used:?} seconds ago");
        }
        // Given back, it takes its grant along.
        let (id, grant, _) = begun(w).await;
        let token = store::random_secret("").unwrap();
        from_before(w, &grant, &[(&token, None)]).await;
        w.form(&w.path("revoke"), &[("token", &token), ("client_id", &id)])
            .await
            .expect(200);
        assert!(!is_alive(w, &grant).await);
    })
    .await;
}

#[tokio::test]
async fn only_the_last_token_is_active_and_any_of_them_ends_its_grant() {
    on_each(async |w| {
        let browser = w.employee().await;
        let metadata = serde_json::json!({
            "redirect_uris": [crate::world::CALLBACK], "token_endpoint_auth_method": "client_secret_post",
        });
        let registered = w.register_with(&metadata).await;
        let (id, secret) = (text(&registered, "client_id"), text(&registered, "client_secret"));
        let proof = [("client_secret", secret.as_str())];
        let code = w.code(&browser, &id).await;
        let tokens = w.redeem(&id, &code, &proof).await.expect(200).json();
        let grant = w.claims(&text(&tokens, "access_token")).grant;
        let first = text(&tokens, "refresh_token");
        let answer = w.refresh(&id, &first, &proof).await.expect(200).json();
        let second = text(&answer, "refresh_token");
        let fields = |token| [("token", token), ("client_id", id.as_str()), proof[0]];
        for (token, active) in [(&first, false), (&second, true)] {
            let answer = w.form(&w.path("introspect"), &fields(token)).await.expect(200);
            assert_eq!(answer.json()["active"], active);
        }
        w.form(&w.path("revoke"), &fields(&first)).await.expect(200);
        assert!(!is_alive(w, &grant).await);
        let answer = w.form(&w.path("introspect"), &fields(&second)).await.expect(200);
        assert_eq!(answer.json()["active"], false);
    })
    .await;
}

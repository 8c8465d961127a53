//! Connections: one-time codes by e-mail, and signing out with the provider.

use crate::world::on_each;
use http::{Method, StatusCode};
use serde_json::json;
use testkit::CONTROL;

#[tokio::test]
async fn codes_by_email_need_a_way_to_send_mail_and_a_list_of_domains() {
    on_each(async |w| {
        let guests = json!({ "name": "Guests", "kind": "email_code", "allowed_domains": ["guest.example"] });
        let refused = w.owner(Method::POST, "/connections", Some(guests.clone())).await;
        refused.refused(409, "conflict");
        assert!(refused.text.contains("[mail]"), "{}", refused.text);

        let folder = std::env::temp_dir();
        let w = w.mailing(&folder);
        let wrong = [
            ("allowed_domains", json!([]), "/allowed_domains"),
            ("client_id", json!("us"), "/client_id"),
            ("issuer", json!("https://idp.example.com"), "/issuer"),
            ("logout", json!({ "back_channel": true }), "/logout/back_channel"),
            ("logout", json!({ "rp_initiated": true }), "/logout/rp_initiated"),
        ];
        for (member, value, pointer) in wrong {
            let mut spec = guests.clone();
            spec[member] = value;
            let answer = w.owner(Method::POST, "/connections", Some(spec)).await;
            assert_eq!(answer.refused(400, "invalid"), [pointer]);
        }
        let made = w.owner(Method::POST, "/connections", Some(guests)).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.text);
        let made = made.json();
        assert!(made.get("backchannel_logout_uri").is_none());
        let path = format!("/connections/{}", made["id"].as_str().unwrap());
        let emptied = json!({ "allowed_domains": [] });
        let answer = w.owner(Method::PATCH, &path, Some(emptied)).await;
        assert_eq!(answer.refused(400, "invalid"), ["/allowed_domains"]);
    })
    .await;
}

#[tokio::test]
async fn what_signs_out_is_off_until_asked_for_and_says_what_to_register() {
    on_each(async |w| {
        let id = &w.acme.connection.id;
        let path = format!("/connections/{id}");
        let before = w.get(&path).await;
        assert_eq!(
            before["logout"],
            json!({ "rp_initiated": false, "back_channel": false })
        );
        let back_channel = format!("{CONTROL}/login/backchannel/{id}");
        assert_eq!(before["backchannel_logout_uri"], json!(back_channel));
        let signed_out = format!("{CONTROL}/login/signed-out");
        assert_eq!(before["post_logout_redirect_uri"], json!(signed_out));
        let body = json!({ "logout": { "back_channel": true } });
        let after = w.owner(Method::PATCH, &path, Some(body)).await;
        assert_eq!(after.status, StatusCode::OK, "{}", after.text);
        assert_eq!(
            after.json()["logout"],
            json!({ "rp_initiated": false, "back_channel": true })
        );
        let unknown = json!({ "logout": { "front_channel": true } });
        let answer = w.owner(Method::PATCH, &path, Some(unknown)).await;
        answer.refused(400, "invalid");
    })
    .await;
}

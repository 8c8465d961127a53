//! The session cookie: what counts as one.

use crate::world::on_each;
use axum::body::Body;
use axum::{Extension, Router};
use http::{Request, StatusCode, header};
use serde_json::json;
use tower::ServiceExt as _;
use wire::AuditRequest;

const NAME: &str = "__Host-chatelaine_session";

/// Asks for "My agents" with these cookies, each in a header of its own.
async fn ask(router: &Router, cookies: &[String]) -> StatusCode {
    let mut request = Request::get("/me").body(Body::empty()).unwrap();
    for cookie in cookies {
        request
            .headers_mut()
            .append(header::COOKIE, cookie.parse().unwrap());
    }
    let context = AuditRequest {
        id: "req-cookie".to_owned(),
        method: "GET".to_owned(),
        path: "/me".to_owned(),
        ip: None,
        user_agent: None,
    };
    let router = router.clone().layer(Extension(context));
    router.oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_session_cookie_that_comes_twice_is_none() {
    on_each(async |w| {
        let (alice, bob) = (
            w.signed_in(json!({})).await,
            w.signed_in(json!({"sub": "bob"})).await,
        );
        let (alice, bob) = (&alice.cookies[NAME], &bob.cookies[NAME]);
        let ask = async |cookies: &[String]| ask(&w.router, cookies).await;
        assert_eq!(ask(&[format!("a=b; {NAME}={alice}; c=d")]).await, StatusCode::OK);
        assert_eq!(
            ask(&["a=b".to_owned(), format!("{NAME}={alice}")]).await,
            StatusCode::OK
        );
        for planted in [
            vec![format!("{NAME}={alice}; {NAME}={bob}")],
            vec![format!("{NAME}={bob}; {NAME}={alice}")],
            vec![format!("{NAME}={alice}; {NAME}={alice}")],
            vec![format!("{NAME}={alice}"), format!("{NAME}={bob}")],
            vec![format!("{NAME}=; {NAME}={alice}")],
            // No browser holds these to what `__Host-` promises.
            vec![format!("__Host%2Dchatelaine_session={alice}")],
            vec![format!("%5F%5FHost-chatelaine_session={alice}")],
            vec![format!("__host-chatelaine_session={alice}")],
            vec![format!("chatelaine_session={alice}")],
        ] {
            assert_eq!(ask(&planted).await, StatusCode::SEE_OTHER, "{planted:?}");
        }
        // Nor do they take the place of the one that counts.
        let beside = format!("__Host%2Dchatelaine_session={bob}; {NAME}={alice}");
        assert_eq!(ask(&[beside]).await, StatusCode::OK);
    })
    .await;
}

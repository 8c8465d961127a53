//! The dashboard's files, embedded at build time (`cargo xtask web` makes them), and the answer to
//! everything that no other route of the control plane knows.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, Request, StatusCode, header};
use rust_embed::RustEmbed;
use wire::{AuditRequest, Problem};

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// Stylesheet and icon are committed, so that sign-in and consent look right even without a dashboard build.
#[derive(RustEmbed)]
#[folder = "../../web/assets"]
#[prefix = "assets/"]
struct Assets;

const CSP: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data:; \
     font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// Serves a file of the dashboard, its index page for navigations, or says that there is nothing.
pub(crate) async fn serve(request: Request<Body>) -> Response {
    let path = request.uri().path();
    let name = path.trim_start_matches('/');
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads
        && !name.is_empty()
        && name != "index.html"
        && let Some(found) = Dist::get(name).or_else(|| Assets::get(name))
    {
        return file(name, found.data, &request);
    }
    let owned = [
        "/api/",
        "/oauth/",
        "/.well-known/",
        "/assets/",
        "/login/",
        "/accounts/",
    ];
    let accepts_html = request
        .headers()
        .get(header::ACCEPT)
        .and_then(|v| v.to_str().ok());
    let navigates = accepts_html.is_some_and(|accept| accept.contains("text/html"));
    if reads && navigates && !owned.iter().any(|prefix| path.starts_with(prefix)) {
        return index();
    }
    // A person gets a page, a program a problem; below the API everybody is a program.
    let person = reads && navigates && !path.starts_with("/api/") && !path.starts_with("/.well-known/");
    not_found(&request, person)
}

fn file(name: &str, data: std::borrow::Cow<'static, [u8]>, request: &Request<Body>) -> Response {
    let etag = format!("\"{}\"", &store::sha256(&data)[..22]);
    let fresh = request
        .headers()
        .get(header::IF_NONE_MATCH)
        .is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(data.into_owned()).into_response()
    };
    let headers = response.headers_mut();
    let mime = mime_guess::from_path(name).first_or_octet_stream();
    if let Ok(value) = HeaderValue::from_str(mime.as_ref()) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    if let Ok(value) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, value);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

fn index() -> Response {
    let Some(page) = Dist::get("index.html") else {
        let text = "The dashboard was not built into this binary: run `cargo xtask web` and build again.\n";
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let mut response = Body::from(page.data.into_owned()).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, CSP),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The answer for paths that nothing serves.
fn not_found(request: &Request<Body>, person: bool) -> Response {
    let id = request
        .extensions()
        .get::<AuditRequest>()
        .map_or_else(String::new, |r| r.id.clone());
    if person {
        let text = "The address may be mistyped, or the thing that it led to is gone.";
        return broker::page::error_page(StatusCode::NOT_FOUND, "Nothing is here", text, &id);
    }
    problem(StatusCode::NOT_FOUND, "not-found", "Nothing is here", id)
}

/// A problem body outside the REST API.
pub(crate) fn problem(status: StatusCode, kind: &str, title: &str, request_id: String) -> Response {
    let problem = Problem {
        kind: format!("/problems/{kind}"),
        title: title.to_owned(),
        status: status.as_u16(),
        detail: None,
        errors: Vec::new(),
        request_id,
    };
    let mut response = (status, axum::Json(problem)).into_response();
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_asks_for_nothing_gets_it_in_their_form() {
        for (path, accept, form) in [
            ("/oauth/app_x/nothing", "text/html,*/*", "text/html"),
            ("/login/nothing/at/all", "text/html", "text/html"),
            ("/accounts/acc_x", "text/html", "text/html"),
            (
                "/oauth/app_x/nothing",
                "application/json",
                "application/problem+json",
            ),
            ("/oauth/app_x/nothing", "*/*", "application/problem+json"),
            ("/api/v1/nothing", "text/html", "application/problem+json"),
            ("/.well-known/nothing", "text/html", "application/problem+json"),
        ] {
            let request = Request::builder().uri(path).header(header::ACCEPT, accept);
            let response = serve(request.body(Body::empty()).unwrap()).await;
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            let said = response.headers()[header::CONTENT_TYPE].to_str().unwrap();
            assert!(said.starts_with(form), "{path} for {accept}: {said}");
        }
    }
}

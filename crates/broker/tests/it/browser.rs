//! A browser: keeps cookies, follows nothing by itself.

use axum::body::Body;
use axum::{Extension, Router};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use std::collections::HashMap;
use tower::ServiceExt as _;
use wire::AuditRequest;

/// One browser with its cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    router: Router,
    pub(crate) cookies: HashMap<String, String>,
    pub(crate) ip: String,
    /// What it says of where forms come from (`Sec-Fetch-Site`): nothing, like those that do not know the header.
    pub(crate) sent_from: Option<&'static str>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// Where a redirect leads.
    #[track_caller]
    pub(crate) fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.headers[header::LOCATION].to_str().unwrap()
    }

    /// The value of a hidden field of the first form that has it.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> String {
        let mark = format!("name=\"{name}\" value=\"");
        let at = self
            .body
            .find(&mark)
            .unwrap_or_else(|| panic!("no {name} in {}", self.body));
        let rest = &self.body[at + mark.len()..];
        rest[..rest.find('"').unwrap()].to_owned()
    }

    /// An error page with this status, which says which request it was.
    #[track_caller]
    pub(crate) fn is_error(&self, status: StatusCode) {
        assert_eq!(self.status, status, "{}", self.body);
        assert!(self.body.contains("req-"), "no request id: {}", self.body);
        assert!(self.headers.contains_key(header::CONTENT_SECURITY_POLICY));
    }
}

impl Browser {
    pub(crate) fn new(router: Router) -> Self {
        Self {
            router,
            cookies: HashMap::new(),
            ip: "198.51.100.7".to_owned(),
            sent_from: None,
        }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        let mut request =
            Request::post(path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        if let Some(site) = self.sent_from {
            request = request.header("sec-fetch-site", site);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Sends the same form many times at once, each time from another address.
    pub(crate) async fn post_at_once(
        &self,
        path: &'static str,
        fields: &[(&str, &str)],
        times: u8,
    ) -> Vec<StatusCode> {
        let fields: Vec<_> = fields
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let mut all = tokio::task::JoinSet::new();
        for n in 0..times {
            let (mut browser, fields) = (self.clone(), fields.clone());
            browser.ip = format!("203.0.113.{n}");
            all.spawn(async move {
                let fields: Vec<_> = fields.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                browser.post(path, &fields).await.status
            });
        }
        all.join_all().await
    }

    async fn send(&mut self, mut request: Request<Body>) -> Answer {
        let cookies: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
        if !cookies.is_empty() {
            let value = cookies.join("; ").parse().unwrap();
            request.headers_mut().insert(header::COOKIE, value);
        }
        let context = AuditRequest {
            id: format!("req-{}", request.uri().path().len()),
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
            ip: Some(self.ip.clone()),
            user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0".to_owned()),
        };
        let router = self.router.clone().layer(Extension(context));
        let (parts, body) = router.oneshot(request).await.unwrap().into_parts();
        for cookie in parts.headers.get_all(header::SET_COOKIE) {
            let text = cookie.to_str().unwrap();
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            if text.contains("Max-Age=0") || value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        }
    }
}

//! Discovery documents at the app's origin. The gateway owns these paths and never forwards them.
//!
//! | path | answer |
//! |---|---|
//! | `/.well-known/oauth-protected-resource[{path}]`, `{path}/.well-known/oauth-protected-resource` | RFC 9728 of the app at `{path}`; without a path of the only app there |
//! | `/.well-known/oauth-authorization-server[{path}]` and the other form | RFC 8414 of that app's issuer |
//! | `openid-configuration` in these places | the same document of an app that has OpenID Connect switched on, else 404 |
//! | any other `oauth-…` in these places | 404 |

use crate::{answer, cors};
use axum::body::Body;
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use std::sync::Arc;
use store::AppView;

/// Which document is asked for, and about which place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Asked<'p> {
    pub(crate) document: Document,
    /// The path in front of or behind the well-known part; empty for none.
    place: &'p str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Document {
    /// RFC 9728.
    ProtectedResource,
    /// RFC 8414.
    AuthorizationServer,
    /// OpenID Connect Discovery.
    OpenId,
    /// Ours, but there is none.
    Other,
}

/// Whether a path is one of these.
pub(crate) fn parse(path: &str) -> Option<Asked<'_>> {
    const MARK: &str = "/.well-known/";
    let at = path.find(MARK)?;
    let (before, rest) = (&path[..at], &path[at + MARK.len()..]);
    let (name, after) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let document = match name {
        "oauth-protected-resource" => Document::ProtectedResource,
        "oauth-authorization-server" => Document::AuthorizationServer,
        "openid-configuration" => Document::OpenId,
        name if name.starts_with("oauth-") => Document::Other,
        _ => return None,
    };
    let place = if before.is_empty() { after } else { before };
    let both = !before.is_empty() && !after.is_empty();
    Some(Asked {
        document: if both { Document::Other } else { document },
        place: place.trim_end_matches('/'),
    })
}

impl Asked<'_> {
    /// The app that the document is about, among those of the authority.
    pub(crate) fn app<'v>(&self, views: &'v [Arc<AppView>]) -> Option<&'v Arc<AppView>> {
        let mut managed = views
            .iter()
            .filter(|view| view.is_live() && view.app.spec.managed_oauth);
        if self.place.is_empty() {
            // A root that is no app's own stands for the only app of the origin.
            let first = managed.next()?;
            return match managed.next() {
                None => Some(first),
                Some(_) => views
                    .iter()
                    .find(|v| v.path.is_empty() && v.is_live() && v.app.spec.managed_oauth),
            };
        }
        let lies_at = |view: &&Arc<AppView>| {
            let rest = self.place.strip_prefix(view.path.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        // The longest path decides, whether that app is managed or not.
        let view = views.iter().find(lies_at)?;
        (view.is_live() && view.app.spec.managed_oauth).then_some(view)
    }
}

/// Answers with a document, or says that there is none.
pub(crate) fn answer(method: &Method, document: Option<Bytes>, request: &str) -> Response<Body> {
    let mut response = if *method == Method::OPTIONS {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        response
    } else if *method != Method::GET && *method != Method::HEAD {
        let message = "Only GET, HEAD and OPTIONS here.";
        let mut response = answer::json(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
            request,
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        response
    } else if let Some(document) = document {
        let mut response = Response::new(Body::from(document));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Short: the switch takes effect at once, and nobody should remember the old state for long.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    } else {
        answer::json(
            StatusCode::NOT_FOUND,
            "not_found",
            "There is no such document.",
            request,
        )
    };
    allow_browsers(response.headers_mut());
    response
}

/// CORS: agents that run in browsers read these from anywhere; nothing here depends on who asks.
fn allow_browsers(headers: &mut HeaderMap) {
    for (name, value) in [
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (
            ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name",
        ),
        (ACCESS_CONTROL_EXPOSE_HEADERS, cors::EXPOSED),
        (ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_that_clients_try_are_understood() {
        use Document::{AuthorizationServer, OpenId, Other, ProtectedResource};
        for (path, expected) in [
            (
                "/.well-known/oauth-protected-resource",
                Some((ProtectedResource, "")),
            ),
            (
                "/.well-known/oauth-protected-resource/",
                Some((ProtectedResource, "")),
            ),
            (
                "/.well-known/oauth-protected-resource/mcp",
                Some((ProtectedResource, "/mcp")),
            ),
            (
                "/.well-known/oauth-protected-resource/a/b/",
                Some((ProtectedResource, "/a/b")),
            ),
            (
                "/mcp/.well-known/oauth-protected-resource",
                Some((ProtectedResource, "/mcp")),
            ),
            (
                "/.well-known/oauth-authorization-server",
                Some((AuthorizationServer, "")),
            ),
            (
                "/.well-known/oauth-authorization-server/mcp",
                Some((AuthorizationServer, "/mcp")),
            ),
            (
                "/mcp/.well-known/oauth-authorization-server",
                Some((AuthorizationServer, "/mcp")),
            ),
            ("/.well-known/openid-configuration", Some((OpenId, ""))),
            ("/.well-known/openid-configuration/mcp", Some((OpenId, "/mcp"))),
            ("/mcp/.well-known/openid-configuration", Some((OpenId, "/mcp"))),
            ("/.well-known/oauth-client-metadata", Some((Other, ""))),
            ("/.well-known/oauth-protected-resourceful", Some((Other, ""))),
            ("/.well-known/security.txt", None),
            ("/mcp", None),
            ("/well-known/oauth-protected-resource", None),
        ] {
            let found = parse(path).map(|asked| (asked.document, asked.place));
            assert_eq!(found, expected, "{path}");
        }
    }
}

//! Which headers cross the gateway. Both directions, pure.
//!
//! Towards the origin there is an allow-list: a header that is not in it does not exist for the origin, so
//! no spelling of an identity or forwarding header (`X_Forwarded_User`, `Remote.User`, `X-Original-URL`,
//! `X-HTTP-Method-Override` …) can matter, whatever the origin's framework makes of `_` and `.`. The list
//! holds the standard request headers, what WebSocket, WebDAV, tracing and the usual front-end libraries
//! send, and a few families by prefix. An application's own headers pass under `x-app-`. `Authorization`
//! is not in it: credentials end here.
//!
//! From the origin everything passes but what belongs to the connection and what is ours.

use http::header::{
    ALT_SVC, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// Sorted, for binary search.
const ALLOWED: &[&str] = &[
    "accept",
    "accept-charset",
    "accept-datetime",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "access-control-request-private-network",
    "api-version",
    "b3",
    "baggage",
    "cache-control",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "cookie",
    "date",
    "depth",
    "destination",
    "device-memory",
    "dnt",
    "downlink",
    "dpr",
    "early-data",
    "ect",
    "git-protocol",
    "idempotency-key",
    "if",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-schedule-tag-match",
    "if-unmodified-since",
    "last-event-id",
    "link",
    "lock-token",
    "next-action",
    "next-router-prefetch",
    "next-router-state-tree",
    "next-url",
    "ocs-apirequest",
    "origin",
    "overwrite",
    "pragma",
    "prefer",
    "priority",
    "purpose",
    "range",
    "referer",
    "repr-digest",
    "rsc",
    "rtt",
    "save-data",
    "service-worker",
    "service-worker-navigation-preload",
    "signature",
    "signature-input",
    "soapaction",
    "stripe-signature",
    "timeout",
    "traceparent",
    "tracestate",
    "tus-resumable",
    "upgrade-insecure-requests",
    "user-agent",
    "viewport-width",
    "want-content-digest",
    "want-repr-digest",
    "width",
    "x-api-version",
    "x-atlassian-token",
    "x-correlation-id",
    "x-csrf-protection",
    "x-csrf-token",
    "x-csrftoken",
    "x-idempotency-key",
    "x-pjax",
    "x-pjax-container",
    "x-prototype-version",
    "x-purpose",
    "x-requested-with",
    "x-socket-id",
    "x-timezone",
    "x-turbo-request-id",
    "x-xsrf-token",
];

/// Families. A name of one must be made of letters, digits and hyphens.
const FAMILIES: &[&str] = &[
    "mcp-",
    "sec-",
    "x-app-",
    "x-mcp-",
    "hx-",
    "turbo-",
    "x-inertia",
    "x-livewire",
    "x-b3-",
    "apollo-",
    "x-apollo-",
    "upload-",
    "x-upload-",
    "x-github-",
    "x-gitlab-",
    "x-hub-signature",
    "webhook-",
    "svix-",
];

/// Of those families, what names other paths than the request's: nobody would have judged them.
const OTHER_PATHS: &[&str] = &["upload-concat"];

/// Whether a header of the client reaches the origin.
pub(crate) fn is_allowed(name: &HeaderName) -> bool {
    let name = name.as_str();
    if OTHER_PATHS.contains(&name) {
        return false;
    }
    ALLOWED.binary_search(&name).is_ok()
        || (FAMILIES.iter().any(|family| name.starts_with(family))
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
}

/// What of the client's headers goes to the origin; room is left for ours.
pub(crate) fn to_origin(from: HeaderMap) -> HeaderMap {
    let named = connection_named(&from);
    let mut to = HeaderMap::with_capacity(from.keys_len() + 10);
    let mut current: Option<HeaderName> = None;
    for (name, value) in from {
        if let Some(name) = name {
            let passes = is_allowed(&name) && !named.iter().any(|n| n.eq_ignore_ascii_case(name.as_str()));
            current = passes.then_some(name);
        }
        let Some(name) = &current else { continue };
        if *name == COOKIE {
            if let Some(value) = without_our_cookies(value) {
                to.append(COOKIE, value);
            }
        } else {
            to.append(name.clone(), value);
        }
    }
    to
}

/// Takes from an origin's headers what is about its connection, and what is ours to say.
pub(crate) fn from_origin(headers: &mut HeaderMap) {
    // A length beside chunks says nothing (RFC 9112, section 6.3), nor do two.
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if headers.contains_key(TRANSFER_ENCODING) || (lengths.next().is_some() && lengths.next().is_some()) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in connection_named(headers) {
        headers.remove(name.as_str());
    }
    for name in [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, ALT_SVC] {
        headers.remove(name);
    }
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authentication-info",
    ] {
        headers.remove(name);
    }
    if headers.get_all(SET_COOKIE).iter().any(sets_our_cookie) {
        let theirs: Vec<_> = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter(|v| !sets_our_cookie(v))
            .cloned()
            .collect();
        headers.remove(SET_COOKIE);
        for value in theirs {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// The headers that `Connection` declares as hop-by-hop (RFC 9110 section 7.6.1). Framing and address are
/// never theirs to name.
fn connection_named(headers: &HeaderMap) -> Vec<String> {
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        for name in value.to_str().unwrap_or_default().split(',').map(str::trim) {
            let harmless = name.eq_ignore_ascii_case("keep-alive") || name.eq_ignore_ascii_case("close");
            let ours = [HOST, CONTENT_LENGTH]
                .iter()
                .any(|h| name.eq_ignore_ascii_case(h.as_str()));
            if !name.is_empty() && !harmless && !ours {
                named.push(name.to_ascii_lowercase());
            }
        }
    }
    named
}

/// Whether a cookie is one of ours, under any prefix and whatever a browser may overlook in front of its name: a cookie
/// without a name is sent back as its value alone.
fn is_our_cookie(pair: &[u8]) -> bool {
    let start = pair.iter().position(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let mut name = start.and_then(|at| pair.get(at..)).unwrap_or_default();
    while let Some(rest) = without_prefix(name, b"__host-").or_else(|| without_prefix(name, b"__secure-")) {
        name = rest;
    }
    without_prefix(name, b"chatelaine_").is_some()
}

fn without_prefix<'n>(name: &'n [u8], prefix: &[u8]) -> Option<&'n [u8]> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn sets_our_cookie(value: &HeaderValue) -> bool {
    is_our_cookie(value.as_bytes())
}

fn without_our_cookies(value: HeaderValue) -> Option<HeaderValue> {
    let pairs = || value.as_bytes().split(|b| *b == b';');
    if !pairs().any(is_our_cookie) {
        return Some(value);
    }
    let theirs: Vec<&[u8]> = pairs()
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !is_our_cookie(pair))
        .collect();
    if theirs.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(&theirs.join(&b"; "[..])).ok()
}

/// The cookies of a request, in its order.
pub(crate) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(COOKIE).iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    pairs.filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='))
}

/// The one cookie of this name; none when there are several, because then nobody knows which one counts.
pub(crate) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut found = cookies(headers).filter(|(key, _)| *key == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(ALLOWED.is_sorted());
    }

    #[test]
    fn gw2_only_listed_headers_reach_the_origin() {
        let sent = to_origin(map(&[
            ("accept", "*/*"),
            ("mcp-session-id", "s"),
            ("x-app-tenant", "t"),
            ("accept", "text/html"),
            ("authorization", "Bearer x"),
            ("proxy-authorization", "x"),
            ("chatelaine-assertion", "x"),
            ("chatelaine_assertion", "x"),
            ("chatelaine-client-id", "x"),
            ("chatelaine-client-secret", "x"),
            ("chatelaine_client_secret", "x"),
            ("chatelaine.assertion", "x"),
            ("x-chatelaine-user", "x"),
            ("x_chatelaine_user", "x"),
            ("x-forwarded-for", "x"),
            ("x-forwarded-uri", "x"),
            ("forwarded", "x"),
            ("x-real-ip", "x"),
            ("remote-user", "x"),
            ("x-remote-user", "x"),
            ("x-auth-request-email", "x"),
            ("x-original-url", "x"),
            ("x-rewrite-url", "x"),
            ("x-http-method-override", "x"),
            ("cf-connecting-ip", "x"),
            ("true-client-ip", "x"),
            ("mcp-x_y", "x"),
            ("mcp-x.y", "x"),
            ("x-app-a_b", "x"),
            ("host", "x"),
            ("content-length", "9"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("connection", "x"),
            ("expect", "100-continue"),
        ]));
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "mcp-session-id", "x-app-tenant"]);
        assert_eq!(sent.get_all("accept").iter().count(), 2);
    }

    #[test]
    fn headers_named_by_connection_end_here() {
        let sent = to_origin(map(&[
            ("connection", "close, X-App-A"),
            ("x-app-a", "1"),
            ("x-app-b", "2"),
        ]));
        assert!(!sent.contains_key("x-app-a") && sent.contains_key("x-app-b"));
        let mut answer = map(&[
            ("connection", "x-b"),
            ("x-b", "1"),
            ("x-c", "1"),
            ("keep-alive", "1"),
            ("alt-svc", "h3"),
        ]);
        from_origin(&mut answer);
        assert_eq!(answer.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-c"]);
    }

    #[test]
    fn jw9_our_cookies_never_cross() {
        let sent = to_origin(map(&[
            (
                "cookie",
                "a=1; chatelaine_app_x=s; __Host-Chatelaine_session=t;b=2; __Secure-__Host-chatelaine_x=3",
            ),
            ("cookie", "chatelaine_state_x=1"),
        ]));
        assert_eq!(sent.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        let mut answer = map(&[
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", "chatelaine_app_x=1"),
            ("set-cookie", " __Host-CHATELAINE_app_x=1; Secure"),
            // Without a name: browsers send the value alone.
            ("set-cookie", "=chatelaine_session=6"),
            ("set-cookie", "==__Host-chatelaine_session=7"),
            ("set-cookie", ";chatelaine_session=5"),
            ("set-cookie", "\"chatelaine_session\"=17"),
            ("set-cookie", "\t= __Secure-chatelaine_app_x"),
            ("set-cookie", "b=chatelaine_"),
        ]);
        from_origin(&mut answer);
        assert_eq!(
            answer.get_all(SET_COOKIE).iter().collect::<Vec<_>>(),
            ["a=1; Path=/", "b=chatelaine_"]
        );
    }

    #[test]
    fn a_cookie_that_comes_twice_is_none() {
        assert_eq!(cookie(&map(&[("cookie", "a=1; b=2")]), "b"), Some("2"));
        assert_eq!(cookie(&map(&[("cookie", "a=1; a=2")]), "a"), None);
        assert_eq!(cookie(&map(&[("cookie", "a=1"), ("cookie", "a=1")]), "a"), None);
    }
}

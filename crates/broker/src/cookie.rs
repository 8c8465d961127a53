//! Cookies: how ours are set, and which one counts where several came.
//!
//! A cookie that comes twice was planted by somebody, and nobody can tell which of the two: then there is none. Nor does
//! a name count that only becomes ours by decoding it: browsers hold `__Host-` to its promise, not `__Host%2D`.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, Request};
use std::task::{Context, Poll};
use tower::{Layer, Service};
use tower_sessions::session::Id;

/// The value of the one cookie with exactly this name; none where it came several times.
pub(crate) fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut found = pairs(headers).filter(|(key, _)| *key == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value),
        _ => None,
    }
}

/// All cookies of a request, in the order in which they were sent.
pub(crate) fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let values = headers.get_all(COOKIE).iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    pairs.filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='))
}

/// The `Set-Cookie` header for one of ours: no script reads it, other sites' pages only lead here with it. It lasts for so
/// many seconds (none: until now), or for as long as the browser is open.
pub(crate) fn set(control_url: &str, (name, value): (&str, &str), life: Option<i64>) -> Option<HeaderValue> {
    let secure = if control_url.starts_with("https:") {
        "; Secure"
    } else {
        ""
    };
    let life = life.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
    HeaderValue::try_from(format!(
        "{name}={value}; Path=/{life}; HttpOnly; SameSite=Lax{secure}"
    ))
    .ok()
}

/// Leaves a request the one cookie of this name, if it has one that can be a session's; cookies of other names stay.
#[derive(Debug, Clone, Copy)]
pub struct OneCookie(pub(crate) &'static str);

impl<S> Layer<S> for OneCookie {
    type Service = WithOneCookie<S>;

    fn layer(&self, inner: S) -> WithOneCookie<S> {
        WithOneCookie { inner, name: self.0 }
    }
}

/// The service behind [`OneCookie`].
#[derive(Debug, Clone)]
pub struct WithOneCookie<S> {
    inner: S,
    name: &'static str,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for WithOneCookie<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let headers = request.headers_mut();
        let mut kept: Vec<String> = others(headers, self.name).map(ToOwned::to_owned).collect();
        kept.extend(only(headers, self.name).map(|value| format!("{}={value}", self.name)));
        match HeaderValue::try_from(kept.join("; ")) {
            Ok(cookies) if !cookies.is_empty() => drop(headers.insert(COOKIE, cookies)),
            _ => drop(headers.remove(COOKIE)),
        }
        self.inner.call(request)
    }
}

/// The cookies whose name is not this one, however it is written.
fn others<'h>(headers: &'h HeaderMap, name: &str) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(COOKIE).iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|b| *b == b';'));
    let pairs = pairs.filter_map(|pair| std::str::from_utf8(pair).ok().map(str::trim));
    pairs.filter(move |pair| {
        let key = pair.split_once('=').map_or(*pair, |(key, _)| key.trim());
        percent_encoding::percent_decode_str(key).decode_utf8_lossy() != name
    })
}

/// As [`one`], if it can be a session's.
fn only<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    one(headers, name).filter(|value| value.parse::<Id>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_counts_when_it_comes_once_under_its_exact_name() {
        let id = Id::default().to_string();
        let other = Id(7).to_string();
        let of = |values: &[String]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(COOKIE, HeaderValue::try_from(value).unwrap());
            }
            only(&headers, "__Host-s").map(ToOwned::to_owned)
        };
        assert_eq!(
            of(&[format!("a=b; __Host-s={id}; c=d")]).as_deref(),
            Some(id.as_str())
        );
        for none in [
            vec![],
            vec![format!("__Host-s={id}; __Host-s={other}")],
            vec![format!("__Host-s={id}; __Host-s={id}")],
            vec![format!("__Host-s={id}"), format!("__Host-s={other}")],
            vec![format!("__Host-s=x; __Host-s={id}")],
            vec![format!("__Host%2Ds={id}")],
            vec![format!("__host-s={id}")],
            vec![format!("s={id}")],
            vec!["__Host-s=".to_owned()],
            vec!["__Host-s=%41AAAAAAAAAAAAAAAAAAAAA".to_owned()],
        ] {
            assert_eq!(of(&none), None, "{none:?}");
        }
        // One that is not ours does no harm.
        assert_eq!(of(&[format!("__Host%2Ds={other}; __Host-s={id}")]), Some(id));
    }
}

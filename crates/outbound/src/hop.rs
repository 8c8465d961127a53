//! A mark on every request that leaves this server, by which it knows its own again: whatever is between,
//! a request that came from here goes no further. The thought is that of `CDN-Loop` (RFC 8586).

use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// One mark for each server that a request went through.
pub const HOP: HeaderName = HeaderName::from_static("chatelaine-hop");

/// Servers that a request may have gone through at the most.
const MOST: usize = 8;

/// This server's mark: the same at all its instances, and nobody else's.
#[derive(Clone)]
pub struct Hop {
    mark: Arc<str>,
    /// The header of a request that begins here.
    alone: Option<HeaderValue>,
}

impl Hop {
    /// The mark `id`: letters, digits, `-` and `_`.
    pub fn new(id: &str) -> Self {
        Self {
            mark: id.into(),
            alone: HeaderValue::try_from(id).ok(),
        }
    }

    /// Whether a request was here before, or has been going round for long.
    #[must_use]
    pub fn is_loop(&self, headers: &HeaderMap) -> bool {
        let mut hops = 0;
        for value in headers.get_all(HOP) {
            let Ok(text) = value.to_str() else { return true };
            for mark in text.split(',') {
                hops += 1;
                if mark.trim() == &*self.mark || hops >= MOST {
                    return true;
                }
            }
        }
        false
    }

    /// What a request with these headers is sent on with.
    #[must_use]
    pub fn onward(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if !headers.contains_key(HOP) {
            return self.alone.clone();
        }
        let before = headers
            .get_all(HOP)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let all: Vec<&str> = before.chain([&*self.mark]).collect();
        HeaderValue::try_from(all.join(", ")).ok()
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hop")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_knows_its_own_requests_again() {
        let (mine, other) = (Hop::new("mine"), Hop::new("other"));
        let mut headers = HeaderMap::new();
        assert!(!mine.is_loop(&headers));
        headers.insert(HOP, mine.onward(&headers).unwrap());
        assert!(mine.is_loop(&headers) && !other.is_loop(&headers));
        // Through another server and back.
        headers.insert(HOP, other.onward(&headers).unwrap());
        assert_eq!(headers[HOP], "mine, other");
        assert!(mine.is_loop(&headers) && other.is_loop(&headers));
        // In a header of its own.
        headers.insert(HOP, HeaderValue::from_static("third"));
        headers.append(HOP, HeaderValue::from_static("mine"));
        assert!(mine.is_loop(&headers));
        headers.insert(HOP, HeaderValue::from_static("mine2,min"));
        assert!(!mine.is_loop(&headers));
        headers.insert(HOP, HeaderValue::from_static("a,b,c,d,e,f,g,h"));
        assert!(mine.is_loop(&headers));
        headers.insert(HOP, HeaderValue::from_bytes(b"\xff").unwrap());
        assert!(mine.is_loop(&headers));
    }
}

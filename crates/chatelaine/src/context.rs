//! Who asks: the request's id, address and user agent, established once and read by every surface.

use http::{HeaderMap, Method, header};
use ipnet::IpNet;
use std::net::IpAddr;
use wire::{AuditRequest, EventId, Id as _};

/// Longest user agent that is kept, in characters.
const USER_AGENT: usize = 200;
/// Longest path that is kept, in bytes.
const PATH: usize = 2048;

/// What the log says of a request.
pub(crate) fn of(method: &Method, path: &str, headers: &HeaderMap, ip: IpAddr) -> AuditRequest {
    let event = EventId::fresh();
    let unique = event.as_str().trim_start_matches("evt_");
    let user_agent = headers
        .get(header::USER_AGENT)
        .map(|value| clean(&String::from_utf8_lossy(value.as_bytes())));
    let mut end = path.len().min(PATH);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    AuditRequest {
        id: format!("req_{unique}"),
        method: method.as_str().to_owned(),
        path: path[..end].to_owned(),
        ip: Some(ip.to_canonical().to_string()),
        user_agent,
    }
}

/// Text of a stranger without control, bidirectional and invisible characters, bounded.
fn clean(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().filter(|c| !hidden(*c)).take(USER_AGENT).collect()
}

/// The client's address: the peer's, or, when the peer is a trusted proxy, the last address in
/// `X-Forwarded-For` that is not one.
pub(crate) fn client_ip(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_proxy = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip.to_canonical()));
    let mut client = peer;
    if !is_proxy(client) {
        return client;
    }
    let forwarded: Vec<_> = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    for hop in forwarded.iter().flat_map(|line| line.split(',')).rev() {
        let Ok(ip) = hop.trim().parse() else { break };
        client = ip;
        if !is_proxy(client) {
            break;
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let mut headers = HeaderMap::new();
        headers.insert(
            "x-forwarded-for",
            "6.6.6.6, 203.0.113.9, 10.0.0.7".parse().unwrap(),
        );
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            client_ip(ip("198.51.100.1"), &headers, &trusted),
            ip("198.51.100.1")
        );
        assert_eq!(client_ip(ip("10.0.0.1"), &headers, &trusted), ip("203.0.113.9"));
        assert_eq!(client_ip(ip("10.0.0.1"), &headers, &[]), ip("10.0.0.1"));
        headers.insert("x-forwarded-for", "garbage, 10.0.0.7".parse().unwrap());
        assert_eq!(client_ip(ip("10.0.0.1"), &headers, &trusted), ip("10.0.0.7"));
    }

    #[test]
    fn user_agents_are_cleaned_and_bounded() {
        assert_eq!(clean("a\u{202e}b\u{0}c\u{200b}"), "abc");
        assert_eq!(clean(&"x".repeat(1000)).len(), USER_AGENT);
    }
}

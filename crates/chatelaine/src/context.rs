//! Who asks: the request's id, address and user agent, established once and read by every surface.

use http::{HeaderMap, Method, header};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use wire::{AuditRequest, EventId, Id as _};

/// Longest user agent that is kept, in characters.
const USER_AGENT: usize = 200;
/// Longest path that is kept, in bytes.
const PATH: usize = 2048;

/// What the log says of a request; of one from an address that is not known, nothing about that.
pub(crate) fn of(method: &Method, path: &str, headers: &HeaderMap, ip: Option<IpAddr>) -> AuditRequest {
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
        ip: ip.map(|ip| ip.to_canonical().to_string()),
        user_agent,
    }
}

/// Text of a stranger without what hides itself, bounded.
fn clean(text: &str) -> String {
    let shown = text.chars().filter(|c| !wire::is_deceptive(*c));
    shown.take(USER_AGENT).collect()
}

/// Who is believed about where a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    /// The networks of proxies that are believed.
    pub(crate) trusted: Vec<IpNet>,
    /// The header in which they say it.
    pub(crate) header: ForwardedHeader,
}

/// The header in which proxies say where requests come from; what other headers say is of no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ForwardedHeader {
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl Proxies {
    pub(crate) fn is_trusted(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|net| net.contains(&peer.to_canonical()))
    }

    /// The client's address: the peer's, or, when the peer is a trusted proxy, the last one that the proxies name and
    /// that is none of theirs. `None` when a proxy does not say it, or says something else than an address: that is no
    /// address of anybody, least of all the proxy's.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        if !self.is_trusted(peer) {
            return Some(peer);
        }
        let mut client = None;
        for hop in self.hops(headers)?.iter().rev() {
            let ip = node(hop)?;
            client = Some(ip);
            if !self.is_trusted(ip) {
                break;
            }
        }
        client
    }

    /// What the proxies name, the first one's word first.
    fn hops(&self, headers: &HeaderMap) -> Option<Vec<String>> {
        let (name, is_standard) = match self.header {
            ForwardedHeader::XForwardedFor => ("x-forwarded-for", false),
            ForwardedHeader::Forwarded => ("forwarded", true),
        };
        let mut hops = Vec::new();
        for line in headers.get_all(name) {
            let line = line.to_str().ok()?;
            if is_standard {
                hops.extend(elements(line)?);
            } else {
                hops.extend(line.split(',').map(|hop| hop.trim().to_owned()));
            }
        }
        Some(hops)
    }
}

/// An address, with or without a port, one of IPv6 perhaps in brackets.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(ip) = text.parse() {
        return Some(ip);
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
}

/// The `for` of each element of a `Forwarded` header (RFC 7239, section 4), empty where it has none; `None` when it
/// cannot be read.
fn elements(line: &str) -> Option<Vec<String>> {
    let mut elements = Vec::new();
    let (mut found, mut rest) = (None, line);
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let end = rest.find(['=', ',', ';']).unwrap_or(rest.len());
        let name = rest[..end].trim();
        rest = &rest[end..];
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = value(after)?;
            if name.eq_ignore_ascii_case("for") && found.replace(value).is_some() {
                return None;
            }
            rest = after.trim_start_matches([' ', '\t']);
        } else if !name.is_empty() {
            return None;
        }
        let next = rest.chars().next();
        if next != Some(';') {
            elements.push(found.take().unwrap_or_default());
        }
        match next {
            None => return Some(elements),
            Some(',' | ';') => rest = &rest[1..],
            Some(_) => return None,
        }
    }
}

/// A token or a quoted string (RFC 9110, section 5.6), and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t', '"']).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(header: ForwardedHeader, peer: &str, lines: &[&str]) -> Option<String> {
        let proxies = Proxies {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1/32".parse().unwrap()],
            header,
        };
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = http::HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(name, value);
        }
        let found = proxies.client(peer.parse().unwrap(), &headers);
        found.map(|ip| ip.to_string())
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let of = |peer: &str, lines: &[&str]| client(ForwardedHeader::XForwardedFor, peer, lines);
        let chain = ["6.6.6.6, 203.0.113.9, 10.0.0.7"];
        assert_eq!(of("198.51.100.1", &chain).as_deref(), Some("198.51.100.1"));
        assert_eq!(of("10.0.0.1", &chain).as_deref(), Some("203.0.113.9"));
        assert_eq!(of("::ffff:10.0.0.1", &chain).as_deref(), Some("203.0.113.9"));
        assert_eq!(
            of("10.0.0.1", &["6.6.6.6", "10.0.0.7"]).as_deref(),
            Some("6.6.6.6")
        );
        // All of them are proxies: it is one of those that asks.
        assert_eq!(
            of("10.0.0.1", &["10.0.0.9, 10.0.0.7"]).as_deref(),
            Some("10.0.0.9")
        );
    }

    #[test]
    fn an_address_may_have_a_port_or_brackets() {
        for (said, meant) in [
            ("6.6.6.6:1234", "6.6.6.6"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("1.1.1.1, 6.6.6.6:1234 , 10.0.0.7:80", "6.6.6.6"),
        ] {
            let found = client(ForwardedHeader::XForwardedFor, "127.0.0.1", &[said]);
            assert_eq!(found.as_deref(), Some(meant), "{said}");
        }
    }

    #[test]
    fn what_is_no_address_is_unknown_and_not_the_proxys() {
        for lines in [
            &[][..],
            &[""],
            &[" "],
            &["unknown"],
            &["_hidden"],
            &["6.6.6.6,"],
            &["6.6.6.6, unknown, 10.0.0.7"],
            &["6.6.6.6, , 10.0.0.7"],
            &["6.6.6.6:"],
            &["6.6.6.6:99999"],
            &["[6.6.6.6]"],
            &["[2001:db8::1"],
            &["2001:db8::1]:443"],
            &["fe80::1%eth0"],
            &["006.6.6.6"],
            &["6.6.6"],
            &["0x7f000001"],
            &["localhost"],
            &["\"6.6.6.6\""],
            &["6.6.6.6;10.0.0.1"],
            &["6.6.6.6", "\u{e4}"],
        ] {
            assert_eq!(
                client(ForwardedHeader::XForwardedFor, "127.0.0.1", lines),
                None,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_configured() {
        let of = |lines: &[&str]| client(ForwardedHeader::Forwarded, "10.0.0.1", lines);
        for (line, meant) in [
            ("for=6.6.6.6", "6.6.6.6"),
            ("For=\"6.6.6.6:47011\"", "6.6.6.6"),
            ("for=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=6.6.6.6;proto=http;by=10.0.0.43", "6.6.6.6"),
            ("for=192.0.2.43, for=6.6.6.6;host=\"a,b;for=1.1.1.1\"", "6.6.6.6"),
            ("for=6.6.6.6, for=10.0.0.9", "6.6.6.6"),
            ("for=6.6.6.6 ; proto=https , for=10.0.0.9", "6.6.6.6"),
        ] {
            assert_eq!(of(&[line]).as_deref(), Some(meant), "{line}");
        }
        assert_eq!(of(&["for=1.1.1.1", "for=6.6.6.6"]).as_deref(), Some("6.6.6.6"));
        for line in [
            "",
            "proto=https",
            "for=unknown",
            "for=_hidden",
            "for=\"_SEVKISEK\"",
            "for=6.6.6.6, proto=https",
            "for=1.1.1.1;for=6.6.6.6",
            "for=\"6.6.6.6",
            "6.6.6.6",
            "for=6.6.6.6 for=1.1.1.1",
            "for=",
        ] {
            assert_eq!(of(&[line]), None, "{line}");
        }
        // The other header says nothing then.
        assert_eq!(client(ForwardedHeader::Forwarded, "10.0.0.1", &[]), None);
    }

    #[test]
    fn user_agents_are_cleaned_and_bounded() {
        assert_eq!(clean("a\u{202e}b\u{0}c\u{200b}\u{fe0f}\u{2800}\u{e0101}"), "abc");
        assert_eq!(clean(&"x".repeat(1000)).len(), USER_AGENT);
    }
}

//! Which app a resource indicator (RFC 8707) names. The issuer that was asked stands for one app, so the question is
//! only whether that one is meant; whatever counts as it, the token says the canonical one.
//!
//! What makes no difference: the case of scheme and host, a default port, one slash at the end, a query (clients are
//! configured with addresses that have one). The bare origin is the app, too, unless another app lies there: clients
//! shorten what they were given. Everything else is compared as it was written: a path with dot segments or an encoded
//! slash means one thing here and another there.

use crate::{Oauth, params::Params};
use store::AppView;

/// Whether a request names no resource but the app.
pub(crate) fn is_meant(oauth: &Oauth, view: &AppView, params: &Params) -> bool {
    let directory = oauth.store.directory();
    let mut beside = directory.at_authority(&view.authority).iter();
    let root = beside.find(|other| other.path.is_empty() && other.public_origin == view.public_origin);
    // Who is switched off is still who it is.
    let is_ours = root.is_none_or(|other| other.app.id == view.app.id);
    params.all("resource").all(|asked| {
        place(asked).is_some_and(|(origin, path)| {
            origin == view.public_origin && (path == view.path || path.is_empty() && is_ours)
        })
    })
}

/// Origin and path of a resource indicator, in the form in which an app's are.
fn place(asked: &str) -> Option<(String, &str)> {
    let is_read = |b: u8| b.is_ascii_graphic() && !matches!(b, b'#' | b'\\');
    let (scheme, rest) = asked.split_once("://").filter(|_| asked.bytes().all(is_read))?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let rest = rest.split('?').next()?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    Some((
        format!("{scheme}://{authority}"),
        path.strip_suffix('/').unwrap_or(path),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_read_without_case_of_host_default_port_query_and_one_slash() {
        for same in [
            "https://tickets.example/mcp",
            "https://tickets.example/mcp/",
            "https://TICKETS.example/mcp",
            "HTTPS://tickets.example:443/mcp",
            "https://tickets.example/mcp?utm_source=x",
            "https://tickets.example/mcp/?a=b&c=https://evil.example/",
            "https://tickets.example/mcp?",
        ] {
            let expected = ("https://tickets.example".to_owned(), "/mcp");
            assert_eq!(place(same), Some(expected), "{same}");
        }
        let origin = ("https://tickets.example".to_owned(), "");
        for bare in [
            "https://tickets.example",
            "https://tickets.example/?x",
            "https://tickets.example?/mcp",
        ] {
            assert_eq!(place(bare), Some(origin.clone()), "{bare}");
        }
        assert_eq!(place("http://[::1]:80/a"), Some(("http://[::1]".into(), "/a")));
        for none in [
            "https://tickets.example/mcp#",
            "https://tickets.example/mcp?x#y",
            "https:\\\\tickets.example/mcp",
            "https://tickets.example\\mcp",
            "https://tickets.example/ mcp",
            "https://tickets.example/m\tcp",
            "https://t\u{ef}ckets.example/mcp",
            "ftp://tickets.example/mcp",
            "https:/tickets.example/mcp",
            "mcp",
            "*",
            "",
        ] {
            assert_eq!(place(none), None, "{none}");
        }
    }

    #[test]
    fn nothing_is_put_right_that_could_be_read_in_two_ways() {
        for other in [
            "https://tickets.example/other/../mcp",
            "https://tickets.example/./mcp",
            "https://tickets.example/mcp/../mcp",
            "https://tickets.example/%6dcp",
            "https://tickets.example/mcp%2f",
            "https://tickets.example/mcp//",
            "https://tickets.example//mcp",
            "https://tickets.example/mcp;x",
            "https://tickets.example/MCP",
            "https://tickets.example:8443/mcp",
            "https://tickets.example:/mcp",
            "https://tickets.example:0443/mcp",
            "https://tickets.example:443:443/mcp",
            "https://tickets.example./mcp",
            "https://%74ickets.example/mcp",
            "https://u@tickets.example/mcp",
            "https://@tickets.example/mcp",
            "https://tickets.example@evil.example/mcp",
            "https://evil.example/mcp",
            "http://tickets.example/mcp",
            "http://tickets.example:443/mcp",
        ] {
            let expected = ("https://tickets.example".to_owned(), "/mcp");
            assert_ne!(place(other), Some(expected), "{other}");
        }
    }
}

//! Redirect URIs: which may be registered, and when the one that is asked for is a registered one. Pure.
//!
//! Everything is judged on the bytes as they were sent. A URI must already be in its canonical spelling,
//! so that no two readers can see two different targets in it.

use url::Url;
use wire::{ClientTier, RedirectPreset, RegistrationRules};

/// The longest redirect URI, in bytes.
const LONGEST: usize = 2000;
/// Schemes that are code, local files or other protocols: refused even where an editor listed them.
const NEVER: &[&str] = &[
    "javascript",
    "data",
    "file",
    "vbscript",
    "blob",
    "about",
    "filesystem",
    "view-source",
    "jar",
    "intent",
    "ftp",
    "ws",
    "wss",
    "mailto",
    "tel",
    "chrome",
    "resource",
];
const LOOPBACK: &[&str] = &["127.0.0.1", "[::1]", "localhost"];

/// Where a redirect URI leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To a port of the person's own computer (RFC 8252 section 7.3).
    Loopback,
    /// To a website.
    Https,
    /// To a program that claims the scheme (RFC 8252 section 7.1).
    Custom,
}

/// Whether a redirect URI may be registered under the rules of an app, and if not, why. `own_host` is the
/// host that a metadata document proves: https redirects to it need no permission.
pub(crate) fn judge(
    uri: &str,
    rules: &RegistrationRules,
    own_host: Option<&str>,
) -> Result<Kind, &'static str> {
    let (kind, _) = parse(uri)?;
    let listed = rules.redirect_uris.iter().any(|listed| matches(listed, uri));
    let own = ClientTier::earned(own_host, uri) == ClientTier::DomainVerified;
    if listed || own || rules.redirect_presets.iter().any(|p| offers(*p, uri, kind)) {
        Ok(kind)
    } else {
        Err("the app does not allow it: an administrator can add it to the app's redirect URIs")
    }
}

/// Whether the redirect URI that is asked for is the registered one: byte for byte, but for the port of a
/// loopback address. `localhost` and `127.0.0.1` are different.
pub(crate) fn matches(registered: &str, asked: &str) -> bool {
    registered == asked
        || loopback_parts(registered).is_some_and(|parts| loopback_parts(asked) == Some(parts))
}

/// What the URI is, and its host; an error if it is of a kind that is never accepted.
pub(crate) fn parse(uri: &str) -> Result<(Kind, String), &'static str> {
    if uri.len() > LONGEST {
        return Err("it is too long");
    }
    if !uri
        .bytes()
        .all(|b| matches!(b, 0x21..=0x7e) && !b"\\\"<>^`{|}".contains(&b))
    {
        return Err("it contains characters that a URI cannot contain");
    }
    if uri.contains('#') {
        return Err("it contains a fragment");
    }
    let (scheme, rest) = uri.split_once(':').ok_or("it is not absolute")?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(plain) {
        return Err("its scheme is not in lower-case letters");
    }
    if NEVER.contains(&scheme) {
        return Err("its scheme is not acceptable");
    }
    if !matches!(scheme, "http" | "https") {
        return Ok((Kind::Custom, String::new()));
    }
    let authority = rest.strip_prefix("//").ok_or("it names no host")?;
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    if authority.contains(['@', '%']) {
        return Err("it contains user information");
    }
    let url = Url::parse(uri).map_err(|_| "it is not a URL")?;
    let host = url
        .host_str()
        .filter(|h| !h.is_empty())
        .ok_or("it names no host")?;
    let canonical = url.as_str();
    if canonical != uri && canonical.strip_suffix('/') != Some(uri) {
        return Err("it is not in its canonical spelling");
    }
    let is_loopback = LOOPBACK.contains(&host);
    match (scheme, is_loopback) {
        ("https", _) => Ok((Kind::Https, host.to_owned())),
        (_, true) => Ok((Kind::Loopback, host.to_owned())),
        _ => Err("http is for the own computer only (127.0.0.1, [::1], localhost)"),
    }
}

fn offers(preset: RedirectPreset, uri: &str, kind: Kind) -> bool {
    match preset {
        RedirectPreset::Loopback => kind == Kind::Loopback,
        RedirectPreset::Claude => matches!(
            uri,
            "https://claude.ai/api/mcp/auth_callback" | "https://claude.com/api/mcp/auth_callback"
        ),
        // The one wildcard, and only for the final segment.
        RedirectPreset::Chatgpt => {
            let id = uri.strip_prefix("https://chatgpt.com/connector/oauth/");
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
            uri == "https://chatgpt.com/connector_platform_oauth_redirect"
                || id.is_some_and(|id| !id.is_empty() && id.bytes().all(plain))
        }
        RedirectPreset::Vscode => match kind {
            Kind::Loopback => loopback_parts(uri).is_some_and(|(_, path)| path.is_empty() || path == "/"),
            _ => matches!(
                uri,
                "https://vscode.dev/redirect" | "https://insiders.vscode.dev/redirect"
            ),
        },
        RedirectPreset::Cursor => {
            matches!(
                uri,
                "cursor://anysphere.cursor-mcp/oauth/callback"
                    | "https://www.cursor.com/agents/mcp/oauth/callback"
            ) || loopback_parts(uri) == Some(("localhost", "/callback"))
        }
    }
}

/// Host and everything after the port of an http loopback URI, as spelled; `None` for anything else.
fn loopback_parts(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("http://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = LOOPBACK.iter().find(|host| {
        authority.strip_prefix(**host).is_some_and(|port| {
            port.is_empty()
                || port
                    .strip_prefix(':')
                    .is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()) && n.parse::<u16>().is_ok())
        })
    })?;
    Some((&authority[..host.len()], path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> RegistrationRules {
        RegistrationRules::default()
    }

    fn only(presets: &[RedirectPreset], uris: &[&str]) -> RegistrationRules {
        RegistrationRules {
            redirect_presets: presets.to_vec(),
            redirect_uris: uris.iter().map(ToString::to_string).collect(),
            ..rules()
        }
    }

    #[test]
    fn redirects_of_the_known_agents_are_accepted_by_default() {
        for (uri, kind) in [
            ("https://claude.ai/api/mcp/auth_callback", Kind::Https),
            ("https://claude.com/api/mcp/auth_callback", Kind::Https),
            ("https://chatgpt.com/connector/oauth/abc_DEF-123", Kind::Https),
            (
                "https://chatgpt.com/connector_platform_oauth_redirect",
                Kind::Https,
            ),
            ("https://vscode.dev/redirect", Kind::Https),
            ("https://insiders.vscode.dev/redirect", Kind::Https),
            ("http://127.0.0.1:33418/", Kind::Loopback),
            ("http://127.0.0.1:33418", Kind::Loopback),
            ("http://localhost/", Kind::Loopback),
            ("cursor://anysphere.cursor-mcp/oauth/callback", Kind::Custom),
            ("https://www.cursor.com/agents/mcp/oauth/callback", Kind::Https),
            ("http://localhost:8787/callback", Kind::Loopback),
            ("http://localhost:54321/callback", Kind::Loopback),
            ("http://127.0.0.1:19876/mcp/oauth/callback", Kind::Loopback),
            ("http://localhost:6274/oauth/callback/debug?x=1", Kind::Loopback),
            ("http://[::1]:8080/callback", Kind::Loopback),
        ] {
            assert_eq!(judge(uri, &rules(), None), Ok(kind), "{uri}");
        }
    }

    #[test]
    fn ru2_code_and_file_schemes_are_refused_even_when_listed() {
        for uri in [
            "JaVaScRiPt:alert(1)",
            "javascript:alert(1)",
            "\tjavascript:alert(1)",
            " javascript:alert(1)",
            "java\nscript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "vbscript:x",
            "blob:https://a/b",
            "about:blank",
            "intent://x",
            "//evil.example/cb",
            "evil",
            "",
        ] {
            assert!(judge(uri, &only(&[], &[uri]), None).is_err(), "{uri:?}");
        }
    }

    #[test]
    fn ru3_user_information_and_double_meanings_are_refused_even_when_listed() {
        for uri in [
            "https://good.example@evil.example/cb",
            "https://u:p@good.example/cb",
            "http://localhost:8090%25@evil.example/",
            "http://localhost%40evil.example/",
            "http://localhost\\@evil.example/",
            "https://good.example\\.evil.example/",
            "http://2130706433/cb",
            "http://127.1/cb",
            "http://0x7f.0.0.1/cb",
            "http://LOCALHOST/cb",
            "https://GOOD.example/cb",
            "HTTPS://good.example/cb",
            "https://good.example:443/cb",
            "https:good.example/cb",
            "https:///good.example/cb",
            "https://good.example/a/../b",
            "https://good.example/a/%2e%2e/b",
            "https://good.example/cb#fragment",
            "https://good.example/cb#",
            "http://good.example/cb",
            "http://localhost.evil.example/cb",
            "http://127.0.0.1.evil.example/cb",
            "http://0.0.0.0/cb",
            "http://localhost:99999/cb",
            "https://good.example/cb\u{e4}",
        ] {
            assert!(
                judge(uri, &only(&[RedirectPreset::Loopback], &[uri]), None).is_err(),
                "{uri:?}"
            );
        }
    }

    #[test]
    fn unlisted_and_nearly_listed_redirects_are_refused() {
        for uri in [
            "https://evil.example/cb",
            "https://claude.ai/api/mcp/auth_callback/",
            "https://claude.ai/api/mcp/auth_callback?x",
            "https://claude.ai.evil.example/api/mcp/auth_callback",
            "https://chatgpt.com/connector/oauth/",
            "https://chatgpt.com/connector/oauth/a/b",
            "https://chatgpt.com/connector/oauth/a?b",
            "https://chatgpt.com/connector/oauth/..",
            "https://chatgpt.com/connector/oauth/%2e%2e",
            "cursor://anysphere.cursor-mcp/oauth/callback2",
            "cursor://other/oauth/callback",
            "myapp://cb",
        ] {
            assert!(judge(uri, &rules(), None).is_err(), "{uri}");
        }
    }

    #[test]
    fn each_preset_offers_its_own_redirects_only() {
        let judged = |presets: &[RedirectPreset], uri: &str| judge(uri, &only(presets, &[]), None).is_ok();
        assert!(!judged(&[], "http://localhost:1/callback"));
        assert!(judged(&[RedirectPreset::Vscode], "http://127.0.0.1:33418/"));
        assert!(!judged(
            &[RedirectPreset::Vscode],
            "http://127.0.0.1:33418/callback"
        ));
        assert!(judged(
            &[RedirectPreset::Cursor],
            "http://localhost:8787/callback"
        ));
        assert!(!judged(
            &[RedirectPreset::Cursor],
            "http://127.0.0.1:8787/callback"
        ));
        assert!(!judged(&[RedirectPreset::Claude], "https://vscode.dev/redirect"));
    }

    #[test]
    fn listed_redirects_and_those_to_the_documents_own_host_are_accepted() {
        let listed = only(
            &[],
            &["myapp://cb", "https://a.example/cb", "http://localhost:1/cb"],
        );
        assert_eq!(judge("myapp://cb", &listed, None), Ok(Kind::Custom));
        assert_eq!(judge("https://a.example/cb", &listed, None), Ok(Kind::Https));
        assert_eq!(judge("http://localhost:2/cb", &listed, None), Ok(Kind::Loopback));
        assert!(judge("https://a.example/cb/", &listed, None).is_err());
        assert_eq!(
            judge("https://b.example/x", &only(&[], &[]), Some("b.example")),
            Ok(Kind::Https)
        );
        assert!(judge("https://x.b.example/x", &only(&[], &[]), Some("b.example")).is_err());
    }

    #[test]
    fn ru5_a_redirect_is_compared_byte_for_byte() {
        let registered = "https://a.example/cb";
        assert!(matches(registered, registered));
        for asked in [
            "https://a.example/cb/",
            "https://a.example/cb?x",
            "https://a.example/cb/..;/x",
            "https://a.example/cb/%2e%2e/x",
            "https://a.example//cb",
            "https://a.example/c%62",
            "https://A.example/cb",
            "https://a.example:443/cb",
            "https://a.example/cb/../cb",
        ] {
            assert!(!matches(registered, asked), "{asked}");
        }
    }

    #[test]
    fn a_loopback_redirect_may_differ_in_its_port_and_in_nothing_else() {
        let registered = "http://127.0.0.1:1234/callback";
        for asked in [
            "http://127.0.0.1/callback",
            "http://127.0.0.1:9/callback",
            "http://127.0.0.1:65535/callback",
        ] {
            assert!(matches(registered, asked), "{asked}");
        }
        for asked in [
            "http://localhost:1234/callback",
            "http://[::1]:1234/callback",
            "https://127.0.0.1:1234/callback",
            "http://127.0.0.1:1234/callback/",
            "http://127.0.0.1:1234/callback?x",
            "http://127.0.0.1:1234/Callback",
            "http://127.0.0.1:65536/callback",
            "http://127.0.0.1:/callback",
            "http://127.0.0.1:+9/callback",
            "http://127.0.0.1:9@evil.example/callback",
            "http://127.0.0.1.evil.example/callback",
        ] {
            assert!(!matches(registered, asked), "{asked}");
        }
        assert!(!matches("https://localhost:1/cb", "https://localhost:2/cb"));
    }
}

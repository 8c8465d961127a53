//! What makes values acceptable, beyond their types.

use crate::fault::{Answer, Fault};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use url::Url;

/// Names: 1 to 100 characters, nothing around them, nothing that cannot be seen.
pub(crate) fn name(pointer: &str, name: &str) -> Answer<()> {
    if name.is_empty() || name.chars().count() > 100 {
        Err(Fault::invalid(pointer, "1 to 100 characters"))
    } else if name.trim() != name {
        Err(Fault::invalid(pointer, "no blanks at the ends"))
    } else if name.chars().any(wire::is_deceptive) {
        Err(Fault::invalid(pointer, "no control or invisible characters"))
    } else {
        Ok(())
    }
}

/// An e-mail address, as far as can be told without sending to it.
pub(crate) fn email(pointer: &str, text: &str) -> Answer<()> {
    wire::Address::parse(text).map(drop).map_err(|why| {
        let detail = format!("an e-mail address such as ada@example.com; {why}");
        Fault::invalid(pointer, detail)
    })
}

/// A number in its range.
pub(crate) fn range(pointer: &str, value: u32, range: RangeInclusive<u32>) -> Answer<()> {
    if range.contains(&value) {
        Ok(())
    } else {
        let detail = format!("from {} to {}", range.start(), range.end());
        Err(Fault::invalid(pointer, detail))
    }
}

/// Limits that are worth having: minutes at least, a year at most.
pub(crate) fn oldest_proof(agents: Option<u32>, sessions: Option<u32>) -> Answer<()> {
    const RANGE: RangeInclusive<u32> = 300..=31_536_000;
    let limit =
        |pointer, seconds: Option<u32>| seconds.map_or(Ok(()), |seconds| range(pointer, seconds, RANGE));
    limit("/oldest_proof/agents_seconds", agents)?;
    limit("/oldest_proof/sessions_seconds", sessions)
}

/// Lists of bounded length.
pub(crate) fn at_most<T>(pointer: &str, list: &[T], most: usize) -> Answer<()> {
    if list.len() <= most {
        Ok(())
    } else {
        Err(Fault::invalid(pointer, format!("at most {most}")))
    }
}

/// An http(s) URL without user information, query and fragment.
pub(crate) fn http_url(pointer: &str, text: &str) -> Answer<Url> {
    let bad = |detail: &str| Fault::invalid(pointer, detail);
    if text.len() > 2048 {
        return Err(bad("at most 2048 bytes"));
    }
    let url = Url::parse(text).map_err(|_| bad("not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("an http or https URL with a host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("no user information"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(bad("no query and no fragment"));
    }
    Ok(url)
}

/// Scheme, host and port only.
pub(crate) fn origin(pointer: &str, text: &str) -> Answer<Url> {
    let url = http_url(pointer, text)?;
    if url.path() == "/" {
        Ok(url)
    } else {
        Err(Fault::invalid(pointer, "scheme, host and port only"))
    }
}

/// The origin of a page, as browsers write it in `Origin` (RFC 6454 section 6.2): in one way only, because it is compared so.
pub(crate) fn page_origin(pointer: &str, text: &str) -> Answer<()> {
    let bad = |detail: &str| Err(Fault::invalid(pointer, detail));
    let Some((scheme, host)) = text.split_once("://").filter(|_| text.len() <= 200) else {
        return bad("an origin such as https://inspector.example.com, at most 200 bytes; not `null`");
    };
    if host.contains('*') {
        return bad("no patterns: each origin is named");
    }
    if matches!(scheme, "http" | "https") || scheme.bytes().any(|b| b.is_ascii_uppercase()) {
        let written = origin(pointer, text)?.origin().ascii_serialization();
        return match written == text {
            true => Ok(()),
            false => bad(&format!("write it as {written}")),
        };
    }
    // Extensions of browsers, and programs that show pages of their own.
    let in_scheme = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
    let in_host = |b: u8| b.is_ascii_alphanumeric() || b"-._:".contains(&b);
    let is_written = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(in_scheme)
        && !host.is_empty()
        && host.bytes().all(in_host);
    // Pages of these have the origin `null`, or are no pages.
    let has_none = [
        "about",
        "blob",
        "data",
        "file",
        "filesystem",
        "javascript",
        "ws",
        "wss",
    ]
    .contains(&scheme);
    match is_written && !has_none {
        true => Ok(()),
        false => bad("scheme and host as a browser writes them in `Origin`"),
    }
}

/// Host, and port unless it is the scheme's default.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether a URL leads to the computer that opens it (RFC 8252 section 7.3).
pub(crate) fn is_loopback(url: &Url) -> bool {
    url.scheme() == "http" && matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"))
}

/// A redirect URI that codes may be sent to: https, http to loopback, or a scheme of an app's own
/// (RFC 8252 section 7).
pub(crate) fn redirect_uri(pointer: &str, text: &str) -> Answer<Url> {
    let bad = |detail: &str| Fault::invalid(pointer, detail);
    if text.len() > 2048 || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad("at most 2048 visible ASCII characters"));
    }
    let url = Url::parse(text).map_err(|_| bad("not a URL"))?;
    if url.fragment().is_some() {
        return Err(bad("no fragment (RFC 6749 section 3.1.2)"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("no user information"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(bad("http only to 127.0.0.1, [::1] and localhost")),
        "javascript" | "data" | "vbscript" | "file" | "blob" | "about" | "filesystem" | "view-source"
        | "ws" | "wss" | "ftp" => Err(bad("this scheme cannot receive codes")),
        _ => Ok(url),
    }
}

/// The name of a claim: as it is, or a JSON pointer (RFC 6901) if it begins with `/`.
fn claim_name(pointer: &str, name: &str) -> Answer<()> {
    if name.is_empty() || name.chars().count() > 200 || !wire::is_plain(name) {
        return Err(Fault::invalid(
            pointer,
            "the name of a claim, 1 to 200 characters",
        ));
    }
    let mut escapes = name.split('~').skip(1);
    if name.starts_with('/') && !escapes.all(|rest| rest.starts_with(['0', '1'])) {
        return Err(Fault::invalid(
            pointer,
            "not a JSON pointer: `~` is written `~0`, `/` is written `~1`",
        ));
    }
    Ok(())
}

/// Which claims carry what.
pub(crate) fn claim_mapping(pointer: &str, mapping: &wire::ClaimMapping) -> Answer<()> {
    claim_name(&format!("{pointer}/email"), &mapping.email)?;
    claim_name(&format!("{pointer}/name"), &mapping.name)?;
    claim_name(&format!("{pointer}/groups"), &mapping.groups)?;
    if let Some(member) = mapping.groups_member.as_deref()
        && (!(1..=100).contains(&member.len()) || member.chars().any(wire::is_deceptive))
    {
        let pointer = format!("{pointer}/groups_member");
        return Err(Fault::invalid(pointer, "1 to 100 visible bytes, or `null`"));
    }
    match mapping.groups_separator.as_deref() {
        Some(text) if !(1..=10).contains(&text.len()) || text.chars().any(wire::is_deceptive) => {
            Err(Fault::invalid(
                format!("{pointer}/groups_separator"),
                "1 to 10 visible bytes, or `null`",
            ))
        }
        _ => Ok(()),
    }
}

/// Claims that must have certain values.
pub(crate) fn required_claims(pointer: &str, required: &BTreeMap<String, String>) -> Answer<()> {
    if required.len() > 20 {
        return Err(Fault::invalid(pointer, "at most 20"));
    }
    for (name, value) in required {
        claim_name(pointer, name)?;
        let at = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        if value.is_empty() || value.chars().count() > 200 || value.chars().any(wire::is_deceptive) {
            return Err(Fault::invalid(at, "1 to 200 visible characters"));
        }
    }
    Ok(())
}

/// RFC 6749 section 3.3 and others: a token of visible characters without `"` and `\`.
pub(crate) fn scope_token(pointer: &str, text: &str) -> Answer<()> {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
    if !text.is_empty() && text.len() <= 200 && text.bytes().all(plain) {
        Ok(())
    } else {
        Err(Fault::invalid(
            pointer,
            "visible ASCII characters without \" and \\",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ru2_ru3_redirect_uris_that_run_or_mislead_are_refused() {
        for bad in [
            "JaVaScRiPt:alert(1)",
            "\tjavascript:alert(1)",
            "data:text/html,x",
            "https://good@evil/cb",
            "http://evil.example/cb",
            "https://x/cb#f",
            "cb",
            "",
        ] {
            assert!(redirect_uri("/redirect_uris/0", bad).is_err(), "{bad}");
        }
        for good in [
            "https://x/cb?a=b",
            "http://127.0.0.1:33418/cb",
            "http://[::1]/",
            "cursor://anysphere.cursor-mcp/oauth",
        ] {
            assert!(redirect_uri("/redirect_uris/0", good).is_ok(), "{good}");
        }
    }

    #[test]
    fn names_that_cannot_be_seen_are_refused() {
        for bad in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\u{202e}b",
            "a\u{200b}",
            &"x".repeat(101),
        ] {
            assert!(name("/name", bad).is_err(), "{bad:?}");
        }
        assert!(name("/name", "Büro 東京").is_ok());
    }
}

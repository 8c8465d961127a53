//! Which request paths can be read in one way only. Pure.
//!
//! Policies see the raw path, and the origin gets the same bytes. That is only safe when no software between
//! policy and file can read those bytes differently, so a path is refused (not repaired) when it has
//!
//! - `.` or `..` segments, empty segments (`//`), `\`, `;`, controls or bytes outside ASCII, in the clear;
//! - any of these percent-encoded, or `/`, or an encoded character that needs no encoding (RFC 3986
//!   section 2.3: `%61` is `a` to one reader and not to another);
//! - a percent sign that encodes nothing or another percent sign (double encoding);
//! - percent-encoded bytes that are not UTF-8 (overlong forms hide `/` and `.`).
//!
//! `%20`, `%C3%A4`, `%3F` and the like stay; rules read a path with an encoded `?` or `#` in both ways.

/// The longest target that is remembered for somebody.
const MAX_TARGET: usize = 8192;

/// `text`, if it is a target of this origin (path and query) that no browser reads as anything else. Wherever
/// somebody is sent who was to come back, what was remembered is judged by this at that moment: it comes from a
/// cookie, a form or a row, and whatever it was when it was put there, it decides now.
///
/// Browsers drop tabs and line ends anywhere in a URL, and read `\` in a path as `/`: `/<TAB>/evil` is `//evil`, another
/// host.
#[must_use]
pub fn local_target(text: &str) -> Option<&str> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let plain = text.chars().all(|c| !c.is_control() && !c.is_whitespace()) && !path.contains('\\');
    let second = text.as_bytes().get(1);
    (text.starts_with('/') && second != Some(&b'/') && plain && text.len() <= MAX_TARGET).then_some(text)
}

/// Whether the raw path of a request target can be read in one way only.
#[must_use]
pub fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return false;
    }
    let mut encoded = false;
    for (i, byte) in bytes.iter().enumerate() {
        match byte {
            b'\\' | b';' | 0..=0x20 | 0x7f.. => return false,
            b'/' if !segment_is_plain(&bytes[i + 1..]) => return false,
            b'%' => encoded = true,
            _ => {}
        }
    }
    !encoded || encoding_is_plain(bytes)
}

/// Looks at the segment at the start of `rest`; the empty one is fine at the very end only.
fn segment_is_plain(rest: &[u8]) -> bool {
    !matches!(
        rest,
        [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..]
    )
}

fn encoding_is_plain(bytes: &[u8]) -> bool {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            decoded.push(*first);
            rest = tail;
            continue;
        }
        let Some((hex, tail)) = tail.split_at_checked(2) else {
            return false;
        };
        let (Some(high), Some(low)) = (nibble(hex[0]), nibble(hex[1])) else {
            return false;
        };
        let byte = high << 4 | low;
        match byte {
            b'%' | b'/' | b'\\' | b';' | 0..=0x1f | 0x7f => return false,
            b'-' | b'.' | b'_' | b'~' => return false,
            _ if byte.is_ascii_alphanumeric() => return false,
            _ => decoded.push(byte),
        }
        rest = tail;
    }
    // The standard library refuses overlong forms and surrogates. C1 controls are controls, too.
    std::str::from_utf8(&decoded).is_ok_and(|text| !text.chars().any(char::is_control))
}

const fn nibble(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{is_plain, local_target};

    #[test]
    fn only_targets_of_this_origin_are_local() {
        for good in [
            "/",
            "/me",
            "/oauth/app_1/authorize?a=b&c=https%3A%2F%2Fx//y",
            "/a:b@c",
            "/%09/evil",
            "/x?file=C:\\a",
        ] {
            assert_eq!(local_target(good), Some(good));
        }
        for bad in [
            "",
            "me",
            "//evil",
            "https://evil",
            "/\\evil",
            "/a\\b?c",
            "\\/evil",
            "/\t/evil",
            "/\r/evil",
            "/\u{b}/evil",
            "/a\nb",
            " /a",
            "\t/a",
            "javascript:x",
            "/\u{0}",
            "/\u{2028}",
            "/\u{85}",
        ] {
            assert_eq!(local_target(bad), None, "{bad:?}");
        }
        let long = format!("/{}", "a".repeat(8191));
        assert_eq!(local_target(&long), Some(long.as_str()));
        assert_eq!(local_target(&format!("{long}a")), None);
    }

    #[test]
    fn gw8_paths_with_two_readings_are_refused() {
        for path in [
            "",
            "*",
            "admin",
            "//",
            "//admin",
            "/a//b",
            "/a//",
            "/.",
            "/..",
            "/./a",
            "/../a",
            "/admin/../public",
            "/admin/./x",
            "/admin/..",
            "/a/.",
            "/%2e%2e/admin",
            "/%2E%2E/admin",
            "/a/%2e/b",
            "/.%2e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a%5Cb",
            "/a\\b",
            "/a;x",
            "/a;x=1/b",
            "/a%3bx",
            "/a%3B",
            "/a%00",
            "/a%0a",
            "/a%0D%0Ab",
            "/a%7f",
            "/a%1f",
            "/%252e%252e/a",
            "/a%252fb",
            "/a%25",
            "/a%2",
            "/a%",
            "/a%zz",
            "/a%g0",
            "/%61dmin",
            "/%41",
            "/a%2db",
            "/a%5fb",
            "/a%7eb",
            "/%30",
            "/a%c0%af",
            "/a%c0%ae%c0%ae/b",
            "/a%e0%80%af",
            "/a%ff",
            "/a%c3",
            "/a%ed%a0%80",
            "/a%c2%85b",
            "/ä",
            "/a b",
            "/a\tb",
            "/a\u{7f}",
        ] {
            assert!(!is_plain(path), "{path:?}");
        }
    }

    #[test]
    fn gw8_ordinary_paths_stay() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b",
            "/a.b",
            "/.well-known/x",
            "/...",
            "/..a",
            "/a..b/c",
            "/a../b",
            "/.a",
            "/Stra%C3%9Fe",
            "/a%20b",
            "/%E2%82%AC",
            "/what%3F",
            "/c%23",
            "/a%2Bb",
            "/a+b",
            "/a%40b",
            "/a@b:c",
            "/a,b",
            "/a=b&c",
            "/~me",
            "/a!b'(c)*",
            "/a%26b",
            "/%F0%9F%98%80",
        ] {
            assert!(is_plain(path), "{path:?}");
        }
    }
}

//! Where to go after signing in: only ever to a page of this origin.

/// `text`, if it is a path of this origin that no browser reads as anything else.
#[must_use]
pub fn safe(text: &str) -> Option<&str> {
    let plain = text
        .chars()
        .all(|c| !c.is_control() && !c.is_whitespace() && c != '\\');
    let second = text.as_bytes().get(1);
    (text.starts_with('/') && second != Some(&b'/') && plain && text.len() <= 8192).then_some(text)
}

/// `base?a=b&…`, with the parameters that have a value.
pub(crate) fn with_query(base: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{query}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_origin_are_safe() {
        for good in [
            "/",
            "/me",
            "/oauth/app_1/authorize?a=b&c=https%3A%2F%2Fx//y",
            "/a:b@c",
        ] {
            assert_eq!(safe(good), Some(good));
        }
        for bad in [
            "",
            "me",
            "//evil",
            "https://evil",
            "/\\evil",
            "\\/evil",
            "/\t/evil",
            "/a\nb",
            " /a",
            "javascript:x",
            "/\u{0}",
            "/\u{2028}",
        ] {
            assert_eq!(safe(bad), None, "{bad:?}");
        }
        assert_eq!(safe(&format!("/{}", "a".repeat(9000))), None);
    }
}

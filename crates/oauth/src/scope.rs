//! Scopes that a client asks for (RFC 6749 section 3.3). What the app does not have is left out, and the token answer
//! says what was granted, because many clients ask for what they ask everybody for: `openid`, `offline_access`.

/// Names that libraries send of their own accord (OpenID Connect Core sections 5.4 and 11): whoever asks for nothing else
/// has asked for nothing of the app by name.
const USUAL: [&str; 6] = ["openid", "profile", "email", "address", "phone", "offline_access"];

/// Scopes were asked for by name, and not one of them is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoneIsThere;

/// The scopes of a request that are there, each once; empty when it asks for none by name.
pub(crate) fn known(asked: Option<&str>, is_there: impl Fn(&str) -> bool) -> Result<Vec<&str>, NoneIsThere> {
    let mut known: Vec<&str> = Vec::new();
    let mut named = false;
    for name in asked
        .unwrap_or_default()
        .split(' ')
        .filter(|name| !name.is_empty())
    {
        if is_there(name) {
            if !known.contains(&name) {
                known.push(name);
            }
        } else {
            named |= !USUAL.contains(&name);
        }
    }
    match known.is_empty() && named {
        true => Err(NoneIsThere),
        false => Ok(known),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(asked: &str) -> Result<Vec<&str>, NoneIsThere> {
        known(Some(asked), |name| matches!(name, "read" | "write"))
    }

    #[test]
    fn what_the_app_does_not_have_is_left_out() {
        assert_eq!(of("read offline_access openid"), Ok(vec!["read"]));
        assert_eq!(of(" write  read write delete "), Ok(vec!["write", "read"]));
        assert_eq!(of("openid profile"), Ok(vec![]));
        assert_eq!(of(""), Ok(vec![]));
        assert_eq!(known(None, |_| true), Ok(vec![]));
        for nothing in [
            "delete",
            "openid delete",
            "READ",
            "read,write",
            "read\twrite",
            "*",
        ] {
            assert_eq!(of(nothing), Err(NoneIsThere), "{nothing}");
        }
    }
}

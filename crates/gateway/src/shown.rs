//! Which credential a request shows. Pure.

use crate::credential::Credential;
use crate::headers::cookie;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use wire::{SERVICE_TOKEN_ID_HEADER, SERVICE_TOKEN_SECRET_HEADER};

/// What a request shows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Nothing,
    One(Credential),
    /// More than one `Authorization`: nobody can tell which one counts.
    Several,
    /// A service token beside another credential, or twice: nobody can tell who acts.
    Ambiguous,
    /// Something that can be no service token.
    NoServiceToken,
}

/// Whether a request says anything of a service token.
pub(crate) fn has_service_token(headers: &HeaderMap) -> bool {
    headers.contains_key(SERVICE_TOKEN_ID_HEADER) || headers.contains_key(SERVICE_TOKEN_SECRET_HEADER)
}

impl Shown {
    /// Reads the headers of a request to an app with this session cookie.
    pub(crate) fn of(headers: &HeaderMap, session_cookie: &str) -> Self {
        let by_person = Self::by_person(headers, session_cookie);
        if !has_service_token(headers) {
            return by_person;
        }
        let one = |name| {
            let mut values = headers.get_all(name).iter();
            let value = values.next().and_then(|value| value.to_str().ok());
            (value.unwrap_or_default().trim(), values.next().is_some())
        };
        let ((id, two_ids), (secret, two_secrets)) =
            (one(SERVICE_TOKEN_ID_HEADER), one(SERVICE_TOKEN_SECRET_HEADER));
        if two_ids || two_secrets || by_person != Self::Nothing {
            return Self::Ambiguous;
        }
        match id.parse() {
            Ok(id) if !secret.is_empty() => Self::One(Credential::Service {
                id,
                secret: secret.to_owned(),
            }),
            _ => Self::NoServiceToken,
        }
    }

    /// What counts of it for a page of another origin: what that sent, and not what the browser added by itself.
    pub(crate) fn sent_by_page(self) -> Self {
        match self {
            Self::One(Credential::Session(_)) => Self::Nothing,
            other => other,
        }
    }

    fn by_person(headers: &HeaderMap, session_cookie: &str) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        if let Some(value) = values.next() {
            if values.next().is_some() {
                return Self::Several;
            }
            // Other schemes are the origin's business, and are not forwarded; they count as nothing.
            let value = value.to_str().unwrap_or_default();
            if let Some((scheme, token)) = value.split_once(' ')
                && scheme.eq_ignore_ascii_case("bearer")
            {
                return Self::One(Credential::Bearer(token.trim().to_owned()));
            }
        }
        match cookie(headers, session_cookie) {
            Some(cookie) => Self::One(Credential::Session(cookie.to_owned())),
            None => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn of(pairs: &[(&str, &str)]) -> Shown {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Shown::of(&headers, "app")
    }

    #[test]
    fn one_credential_counts_or_none() {
        let id = wire::ServiceTokenId::fresh();
        let (name, value) = ("chatelaine-client-id", id.to_string());
        let (token, secret) = ((name, value.as_str()), ("chatelaine-client-secret", "s"));
        let service = Credential::Service {
            id: id.clone(),
            secret: "s".into(),
        };
        assert_eq!(of(&[]), Shown::Nothing);
        assert_eq!(of(&[token, secret]), Shown::One(service));
        assert_eq!(of(&[token]), Shown::NoServiceToken);
        assert_eq!(of(&[secret]), Shown::NoServiceToken);
        assert_eq!(of(&[(name, "tok_1"), secret]), Shown::NoServiceToken);
        let bearer = ("authorization", "bearer x");
        assert_eq!(of(&[bearer]), Shown::One(Credential::Bearer("x".into())));
        assert_eq!(of(&[bearer, bearer]), Shown::Several);
        for other in [bearer, ("cookie", "app=s"), token, secret] {
            assert_eq!(of(&[token, secret, other]), Shown::Ambiguous, "{other:?}");
        }
        assert_eq!(of(&[secret, bearer]), Shown::Ambiguous);
    }
}

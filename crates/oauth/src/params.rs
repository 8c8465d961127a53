//! Parameters of a query or form, as RFC 6749 section 3.1 wants them read: an empty one counts as absent,
//! and one that comes twice is an error. Only `resource` may come several times (RFC 8707).

use crate::answer::OauthError;
use http::header::{CONTENT_TYPE, HeaderMap};

/// The longest form, in bytes.
pub(crate) const LONGEST_FORM: usize = 16 * 1024;

/// Parameters in the order in which they were sent.
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads `application/x-www-form-urlencoded` text.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(
            url::form_urlencoded::parse(text)
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect(),
        )
    }

    /// Reads the body of a POST; its content type may name a charset.
    pub(crate) fn form(headers: &HeaderMap, body: &[u8]) -> Result<Self, OauthError> {
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split(';').next())
            .unwrap_or_default();
        if !media_type
            .trim()
            .eq_ignore_ascii_case("application/x-www-form-urlencoded")
        {
            return Err(OauthError::invalid_request(
                "the body must be application/x-www-form-urlencoded",
            ));
        }
        if body.len() > LONGEST_FORM {
            return Err(OauthError::invalid_request("the body is too long"));
        }
        let params = Self::parse(body);
        match params.repeated() {
            Some(_) => Err(OauthError::invalid_request("a parameter is given twice")),
            None => Ok(params),
        }
    }

    /// A parameter, if it is there.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'p>(&'p self, name: &str) -> impl Iterator<Item = &'p str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// A parameter that is there more than once although it must not be.
    pub(crate) fn repeated(&self) -> Option<&str> {
        self.0.iter().enumerate().find_map(|(i, (name, _))| {
            let again = name != "resource" && self.0[..i].iter().any(|(earlier, _)| earlier == name);
            again.then_some(name.as_str())
        })
    }

    /// Whether a parameter is there more than once.
    pub(crate) fn is_repeated(&self, name: &str) -> bool {
        self.0.iter().filter(|(n, _)| n == name).count() > 1
    }

    /// All, in order.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_parameters_count_as_absent_and_only_resource_may_repeat() {
        let params = Params::parse(b"a=&b=1&resource=x&resource=y&c=2");
        assert_eq!((params.get("a"), params.get("b")), (None, Some("1")));
        assert_eq!(params.all("resource").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(params.repeated(), None);
        assert_eq!(Params::parse(b"b=1&c=2&b=1").repeated(), Some("b"));
    }

    #[test]
    fn forms_may_name_a_charset_and_nothing_else_is_a_form() {
        let read = |content_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
            Params::form(&headers, b"a=1").is_ok()
        };
        assert!(read("application/x-www-form-urlencoded"));
        assert!(read("application/x-www-form-urlencoded;charset=UTF-8"));
        assert!(read("Application/X-WWW-Form-URLEncoded ; charset=utf-8"));
        assert!(!read("application/json"));
        assert!(Params::form(&HeaderMap::new(), b"a=1").is_err());
    }
}

//! E-mail addresses as they are compared. There is one way to read one, and everything that decides by an address or
//! its domain reads it here: what two readers understand differently lets somebody in whom a rule keeps out.

use std::fmt;

/// Longest address, in bytes (RFC 5321, section 4.5.3.1.3, without the angle brackets).
const MAX: usize = 254;
/// Longest part before the `@`, in bytes (RFC 5321, section 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Longest domain, in bytes (RFC 1035, section 2.3.4).
const MAX_DOMAIN: usize = 253;
/// Longest label of a domain, in bytes.
const MAX_LABEL: usize = 63;

/// An e-mail address in its plain form: a dot-atom (RFC 5322, section 3.2.3), one `@`, a domain name. ASCII only:
/// other letters may become somebody else's address where they are lower-cased or looked up. No quotes, comments,
/// lists, display names, address literals or blanks, all of which mail software reads in more than one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address<'a> {
    whole: &'a str,
    at: usize,
}

/// Why a text is no [`Address`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnAddress(&'static str);

impl fmt::Display for NotAnAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotAnAddress {}

impl<'a> Address<'a> {
    /// Reads a text that is an address and nothing else.
    ///
    /// # Errors
    /// When it is not, in words for an administrator.
    pub fn parse(text: &'a str) -> Result<Self, NotAnAddress> {
        if text.len() > MAX {
            return Err(NotAnAddress("it is longer than 254 bytes"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(NotAnAddress(
                "it holds blanks, characters that cannot be seen, or letters that are not ASCII",
            ));
        }
        let Some((local, domain)) = text.split_once('@') else {
            return Err(NotAnAddress("it has no @"));
        };
        if domain.contains('@') {
            return Err(NotAnAddress("it has more than one @"));
        }
        if !is_dot_atom(local) {
            return Err(NotAnAddress("what stands before its @ is not plain"));
        }
        if !is_domain(domain) {
            return Err(NotAnAddress("what stands behind its @ is not a domain"));
        }
        Ok(Self {
            whole: text,
            at: local.len(),
        })
    }

    /// The domain, as it was written.
    #[must_use]
    pub fn domain(&self) -> &'a str {
        &self.whole[self.at + 1..]
    }

    /// The address, as it was written.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.whole
    }

    /// Whether a text is the same address: ASCII case does not matter.
    #[must_use]
    pub const fn is(&self, other: &str) -> bool {
        self.whole.eq_ignore_ascii_case(other)
    }

    /// Whether it is in this domain itself; subdomains are others.
    #[must_use]
    pub fn is_in(&self, domain: &str) -> bool {
        self.domain().eq_ignore_ascii_case(domain)
    }

    /// What addresses that are the same have in common: the address in lower case.
    #[must_use]
    pub fn key(&self) -> String {
        self.whole.to_ascii_lowercase()
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.whole)
    }
}

/// RFC 5322, section 3.2.3.
fn is_dot_atom(text: &str) -> bool {
    let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&b);
    text.len() <= MAX_LOCAL
        && text
            .split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(atext))
}

/// Whether a text is a domain name as addresses have it: letters, digits and hyphens in labels, other scripts in
/// their ASCII form (`xn--…`), no address of a computer, no dot at the end.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = text
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    text.len() <= MAX_DOMAIN && text.split('.').all(label) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_in_one_way_or_not_at_all() {
        for good in [
            "ada@example.com",
            "Ada.Lovelace+x@Sub.Example.COM",
            "o'neil/x=y@example.com",
            "a@localhost",
            "alice_gmail.com#EXT#@acme.onmicrosoft.com",
            "a@xn--mnchen-3ya.example",
        ] {
            assert!(Address::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "@",
            "a",
            "a@",
            "@acme.example",
            "a@evil.com@acme.example",
            "\"a@evil.com\"@acme.example",
            "\"a\"@acme.example",
            "a@evil.com,b@acme.example",
            "a@evil.com;b@acme.example",
            "a@evil.com b@acme.example",
            "a(@evil.com)@acme.example",
            "a@acme.example(evil)",
            "a@(evil)acme.example",
            "<a@acme.example>",
            "Ada <a@acme.example>",
            "a\\@acme.example",
            " a@acme.example",
            "a@acme.example ",
            "a@acme.example\n",
            "a@acme.example\u{0}",
            "a@acme\u{200b}.example",
            "a@acme.example.",
            "a@.acme.example",
            "a@acme..example",
            "a@-acme.example",
            "a@acme-.example",
            "a@acme_x.example",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@acme.example:25",
            "a@acme.example/x",
            "a@acme\u{ff0e}example",
            "a@acme.ex\u{e4}mple",
            "\u{212a}im@acme.example",
            ".a@acme.example",
            "a.@acme.example",
            "a..b@acme.example",
            "a%evil.com@[acme]",
        ] {
            assert!(Address::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Address::parse(&format!("{}@acme.example", "x".repeat(65))).is_err());
        assert!(Address::parse(&format!("a@{}.example", "x".repeat(64))).is_err());
        assert!(Address::parse(&format!("a@{}", "x.".repeat(130))).is_err());
    }

    #[test]
    fn addresses_are_compared_whole_and_without_ascii_case() {
        let address = Address::parse("Ada@Acme.Example").unwrap();
        assert!(address.is("ada@ACME.example"));
        assert!(!address.is("ada@acme.example.com") && !address.is("ada@acme.example "));
        assert!(address.is_in("acme.EXAMPLE"));
        for other in ["example", "me.example", "sub.acme.example", "", "@acme.example"] {
            assert!(!address.is_in(other), "{other}");
        }
        assert_eq!(address.key(), "ada@acme.example");
    }
}

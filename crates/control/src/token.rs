//! The form of API tokens: `cht_`, 43 characters of secret, 6 of checksum. The checksum lets secret
//! scanners tell a token from other text, and us refuse mistyped ones without asking the database.

use store::{Result, random_secret, sha256};

/// Begins every API token.
const PREFIX: &str = "cht_";
/// Base64url of 256 bits.
const SECRET: usize = 43;
/// Of the SHA-256 of everything before it, in base64url.
const CHECKSUM: usize = 6;
/// So much is shown in lists, to recognise a token.
const SHOWN: usize = 12;

/// Makes an API token: the credential (shown once, stored nowhere), its first characters to recognise it
/// by, and the hash that [`store::api_token::create`] stores.
///
/// # Errors
/// When the system has no randomness.
pub fn mint_api_token() -> Result<(String, String, String)> {
    let mut token = random_secret(PREFIX)?;
    token.push_str(&checksum(&token));
    let (prefix, hash) = (token[..SHOWN].to_owned(), sha256(&token));
    Ok((token, prefix, hash))
}

fn checksum(text: &str) -> String {
    let mut sum = sha256(text);
    sum.truncate(CHECKSUM);
    sum
}

/// The hash to look a token up by, unless the text cannot be one of ours.
pub(crate) fn hash_of(text: &str) -> Option<String> {
    let whole = text.len() == PREFIX.len() + SECRET + CHECKSUM && text.is_ascii();
    let (body, sum) = whole.then(|| text.split_at(text.len() - CHECKSUM))?;
    (body.starts_with(PREFIX) && checksum(body) == sum).then(|| sha256(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_tokens_of_ours_are_looked_up() {
        let (token, prefix, hash) = mint_api_token().unwrap();
        assert_eq!(token.len(), 53);
        assert_eq!(hash_of(&token), Some(hash));
        assert!(token.starts_with(&prefix));
        let mut flipped = token.clone().into_bytes();
        flipped[10] = if flipped[10] == b'A' { b'B' } else { b'A' };
        for bad in [
            "",
            "cht_",
            "ä",
            &token[1..],
            &token[..52],
            &String::from_utf8(flipped).unwrap(),
        ] {
            assert_eq!(hash_of(bad), None, "{bad}");
        }
    }
}

//! The form of API tokens: `cht_`, 43 characters of secret, 6 of checksum.

use store::{Result, SecretForm};

const FORM: SecretForm = SecretForm::new("cht_");

/// Makes an API token: the credential (shown once, stored nowhere), its first characters to recognise it
/// by, and the hash that [`store::api_token::create`] stores.
///
/// # Errors
/// When the system has no randomness.
pub fn mint_api_token() -> Result<(String, String, String)> {
    let minted = FORM.mint()?;
    Ok((minted.secret, minted.prefix, minted.hash))
}

/// The hash to look a token up by, unless the text cannot be one of ours.
pub(crate) fn hash_of(text: &str) -> Option<String> {
    FORM.hash_of(text)
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

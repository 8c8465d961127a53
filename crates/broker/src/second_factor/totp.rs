//! Codes of authenticator apps (RFC 6238: SHA-1, six digits, 30 seconds, one step early or late).

use crate::page::Failure;
use qrcode::QrCode;
use qrcode::render::svg;
use store::{Error, Tx, factor};
use totp_rs::{Builder, Secret, Totp};
use wire::{FactorKind, UserId};
use zeroize::Zeroizing;

/// Digits of a code.
pub(super) const DIGITS: usize = 6;
/// Bytes of a key, as RFC 4226 recommends.
const KEY: usize = 20;

/// A fresh key.
pub(super) fn fresh_key() -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut key = Zeroizing::new(vec![0; KEY]);
    aws_lc_rs::rand::fill(&mut key).map_err(|_| Error::internal("no randomness"))?;
    Ok(key)
}

fn totp(key: &[u8], account: &str, issuer: &str) -> Result<Totp, Error> {
    // Neither may contain a colon, which separates them.
    let plain = |text: &str| text.replace(':', " ");
    let builder = Builder::new()
        .with_secret(Secret::new(key.into()))
        .with_account_name(plain(account))
        .with_issuer(Some(plain(issuer)));
    builder.build().map_err(|e| Error::internal(e.to_string()))
}

/// What an authenticator app needs to know.
pub(super) struct Sheet {
    /// The QR code, as SVG.
    pub(super) qr: String,
    /// The key for typing, in groups.
    pub(super) key: String,
}

/// The sheet of a key.
pub(super) fn sheet(key: &[u8], account: &str, issuer: &str) -> Result<Sheet, Error> {
    let totp = totp(key, account, issuer)?;
    let url = totp.to_url().map_err(|e| Error::internal(e.to_string()))?;
    let qr = QrCode::new(url).map_err(|e| Error::internal(e.to_string()))?;
    let qr = qr.render::<svg::Color>().min_dimensions(200, 200).build();
    // Inside a page the declaration has no place.
    let qr = qr.split_once("?>").map_or(qr.as_str(), |(_, svg)| svg);
    let text = totp.secret().to_base32();
    let groups: Vec<_> = text.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
    Ok(Sheet {
        qr: qr.replacen("<svg ", "<svg role=\"img\" aria-label=\"QR code\" ", 1),
        key: groups.join(" "),
    })
}

/// The time step that a code of this key belongs to, if it is one of now.
pub(super) fn step(key: &[u8], code: &str, now: wire::Timestamp) -> Result<Option<i64>, Error> {
    let now = u64::try_from(now.seconds()).map_err(Error::internal)?;
    let step = totp(key, "-", "-")?.check(code, now);
    Ok(step.and_then(|step| i64::try_from(step).ok()))
}

/// Spends a code of any authenticator app of the person.
pub(super) async fn spend(
    tx: &mut Tx,
    user: &UserId,
    code: &str,
) -> Result<Result<(), &'static str>, Failure> {
    let mut verdict = Err("wrong_code");
    for known in factor::known(tx, user).await? {
        if known.factor.kind != FactorKind::Totp {
            continue;
        }
        let now = tx.now();
        if let Some(step) = step(&known.secret, code, now)? {
            if factor::spend_step(tx, &known.factor.id, step).await? {
                return Ok(Ok(()));
            }
            verdict = Err("replayed_code");
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Timestamp;

    #[test]
    fn codes_are_those_of_rfc_6238_one_step_early_or_late() {
        // Appendix B, SHA-1, the last six of eight digits.
        let key = b"12345678901234567890";
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_234_567_890, "005924"),
        ] {
            for off in [-30, 0, 30] {
                let now = Timestamp::from_seconds(seconds + off);
                assert_eq!(
                    step(key, code, now).unwrap(),
                    Some(seconds / 30),
                    "{seconds} {off}"
                );
            }
            for off in [-61, 61] {
                let now = Timestamp::from_seconds(seconds + off.max(-59));
                if off > 0 {
                    assert_eq!(step(key, code, now).unwrap(), None);
                }
            }
        }
        assert_eq!(step(key, "", Timestamp::from_seconds(59)).unwrap(), None);
    }

    #[test]
    fn the_sheet_is_what_apps_read() {
        let sheet = sheet(b"12345678901234567890", "a:b@acme.example", "Acme").unwrap();
        assert_eq!(sheet.key, "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ");
        assert!(sheet.qr.starts_with("<svg ") && sheet.qr.ends_with("</svg>"));
        assert!(
            !sheet.qr.contains("style"),
            "no inline styles under the content security policy"
        );
    }
}

//! Local passwords: argon2id with bounded memory and time.

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use aws_lc_rs::rand;
use store::{Error, Result, Tx};
use tokio::sync::Semaphore;
use wire::UserId;

/// Shortest password, in characters.
pub const MIN_LENGTH: usize = 12;
/// Longest password, in bytes.
pub const MAX_LENGTH: usize = 256;

/// OWASP's second choice: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// Passwords hashed at the same time in this process: each takes 19 MiB and a core.
static SLOTS: Semaphore = Semaphore::const_new(2);

/// What is verified when there is no such person, so that the answer takes as long. Nothing hashes to it.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$Y2hhdGVsYWluZW5vYm9keQ$\
     AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Who is in a slot, or waits for one: some seconds of work. Whoever comes when all places are taken is told so.
static PLACES: Semaphore = Semaphore::const_new(64);

async fn in_slot<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let Ok(_place) = PLACES.try_acquire() else {
        metrics::counter!("chatelaine_busy_total", "kind" => "passwords").increment(1);
        return Err(Error::Busy);
    };
    let _slot = SLOTS.acquire().await.map_err(Error::internal)?;
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)
}

/// Whether a password may be set.
///
/// # Errors
/// `Invalid` unless it is 12 characters to 256 bytes long.
pub fn judge_password(password: &str) -> Result<()> {
    if password.chars().count() < MIN_LENGTH || password.len() > MAX_LENGTH {
        let detail = "a password is 12 to 256 characters long";
        return Err(Error::invalid("/password", detail));
    }
    Ok(())
}

/// Hashes a password with argon2id, in PHC form.
///
/// # Errors
/// `Invalid` unless it is 12 characters to 256 bytes long.
pub async fn hash_password(password: &str) -> Result<String> {
    judge_password(password)?;
    let password = password.to_owned();
    let hashed = in_slot(move || {
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| Error::internal("no randomness"))?;
        let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|e| Error::internal(e.to_string()))?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let phc = argon2.hash_password_with_salt(password.as_bytes(), &salt);
        phc.map(|phc| phc.to_string())
            .map_err(|e| Error::internal(e.to_string()))
    });
    hashed.await?
}

/// Gives a local person a password, and forgets failed attempts.
///
/// # Errors
/// `Invalid` unless it is 12 characters to 256 bytes long.
pub async fn set_local_password(tx: &mut Tx, user: &UserId, password: &str) -> Result<()> {
    let phc = hash_password(password).await?;
    store::user::set_password(tx, user, &phc).await
}

/// Whether `password` hashes to `phc`; with none, takes as long and says no.
pub(crate) async fn verify(phc: Option<String>, password: String) -> Result<bool> {
    if password.len() > MAX_LENGTH {
        return Ok(false);
    }
    in_slot(move || {
        let known = phc.is_some();
        let phc = phc.as_deref().unwrap_or(NOBODY);
        Argon2::default()
            .verify_password(password.as_bytes(), phc)
            .is_ok()
            && known
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_password_itself_verifies() {
        let phc = hash_password("correct horse battery").await.unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{phc}");
        assert!(
            verify(Some(phc.clone()), "correct horse battery".into())
                .await
                .unwrap()
        );
        assert!(!verify(Some(phc), "correct horse batterY".into()).await.unwrap());
        assert!(!verify(None, "correct horse battery".into()).await.unwrap());
    }

    #[tokio::test]
    async fn the_hash_of_nobody_costs_as_much_as_a_real_one() {
        let phc = argon2::PasswordHash::new(NOBODY).unwrap();
        let params = Params::try_from(&phc).unwrap();
        assert_eq!(
            (params.m_cost(), params.t_cost(), params.p_cost()),
            (MEMORY_KIB, PASSES, 1)
        );
    }

    #[tokio::test]
    async fn short_and_huge_passwords_are_refused() {
        assert!(hash_password("elevenchars").await.is_err());
        assert!(hash_password(&"x".repeat(257)).await.is_err());
        assert!(!verify(None, "x".repeat(1 << 20)).await.unwrap());
    }

    #[tokio::test]
    async fn passwords_wait_in_bounded_number() {
        let many = (0..80).map(|_| verify(None, "correct horse battery".into()));
        let answers = futures_util::future::join_all(many).await;
        let busy = answers
            .iter()
            .filter(|answer| matches!(answer, Err(Error::Busy)))
            .count();
        assert_eq!(busy, 80 - 64);
        assert!(answers.into_iter().flatten().all(|fits| !fits));
        assert!(
            !verify(None, "correct horse battery".into()).await.unwrap(),
            "there is room again"
        );
    }
}

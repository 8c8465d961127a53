//! Identifiers in sixteen bytes. Of very many people, sessions and grants, only these are held at once.

use crate::db::On;
use crate::sql::Sql;
use crate::{Error, Result};
use std::collections::HashSet;
use wire::Id;

/// An identifier without its prefix.
pub(super) type Key = u128;

/// Many of them.
pub(super) type Keys = HashSet<Key>;

/// An identifier as a key.
pub(super) fn key(id: &impl Id) -> Key {
    of_text(id.as_str()).unwrap_or_default()
}

/// An identifier's text as a key; `None` for other text.
pub(super) fn of_text(text: &str) -> Option<Key> {
    let (_, digits) = text.split_once('_')?;
    Key::from_str_radix(digits, 16).ok()
}

/// Identifiers as they are written.
pub(super) fn ids<T: Id>(keys: &[Key]) -> Result<Vec<T>> {
    let id = |key: &Key| format!("{}_{key:032x}", T::PREFIX).parse();
    keys.iter()
        .map(id)
        .collect::<Result<_, _>>()
        .map_err(Error::internal)
}

/// Adds the column `id` of all that a statement finds.
pub(super) async fn gather(db: On<'_>, sql: Sql, found: &mut Vec<Key>) -> Result<()> {
    db.each(sql, |row| {
        let text = row.text("id")?;
        found.push(of_text(&text).ok_or_else(|| Error::internal("not an identifier"))?);
        Ok(())
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::UserId;

    #[test]
    fn a_key_stands_for_its_identifier() {
        let some: Vec<UserId> = (0..3).map(|_| UserId::fresh()).collect();
        let keys: Vec<Key> = some.iter().map(key).collect();
        assert_eq!(ids::<UserId>(&keys).unwrap(), some);
        assert_eq!(of_text("usr_x"), None);
        assert_eq!(of_text("usr"), None);
    }
}

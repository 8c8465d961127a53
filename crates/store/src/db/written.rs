//! To which tables a transaction may have written, as its statements say.

use std::collections::BTreeSet;

/// Tables that were written to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Written {
    tables: BTreeSet<String>,
    /// What was deleted may have taken rows of other tables with it, and what is not understood may do anything.
    any: bool,
}

impl Written {
    /// Whether rows of the table may be others than before.
    pub(crate) fn has(&self, table: &str) -> bool {
        self.any || self.tables.contains(table)
    }

    /// Notes a statement.
    pub(super) fn note(&mut self, text: &str) {
        let mut words = text.split_ascii_whitespace();
        let table = match (words.next(), words.next()) {
            (Some("SELECT"), _) => return,
            (Some("INSERT"), Some("INTO")) => words.next(),
            (Some("UPDATE"), table) => table,
            _ => None,
        };
        match table {
            Some(table) if self.tables.contains(table) => {}
            Some(table) => drop(self.tables.insert(table.to_owned())),
            None => self.any = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Written;

    #[test]
    fn what_a_statement_may_write_is_noted() {
        let mut written = Written::default();
        written.note("SELECT id FROM apps WHERE account = $1");
        written.note("INSERT INTO bindings (id) VALUES (?)");
        written.note("UPDATE  policies SET spec = $1");
        let of = ["apps", "bindings", "policies"].map(|table| written.has(table));
        assert_eq!(of, [false, true, true]);
        for any in [
            "DELETE FROM accounts WHERE id = $1",
            "WITH x AS (DELETE FROM apps RETURNING id) SELECT 1",
            "INSERT OR REPLACE INTO apps (id) VALUES (?)",
        ] {
            let mut written = Written::default();
            written.note(any);
            assert!(written.has("policies"), "{any}");
        }
    }
}

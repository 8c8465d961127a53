//! What the schema itself promises.

use crate::world::on_each;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row as _};
use std::collections::BTreeMap;

async fn asked(db: &mut SqliteConnection, text: String) -> Vec<sqlx::sqlite::SqliteRow> {
    db.fetch_all(AssertSqlSafe(text)).await.unwrap()
}

/// The columns of each index of a table that holds all rows.
async fn indexes(db: &mut SqliteConnection, table: &str) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for index in asked(db, format!("PRAGMA index_list({table})")).await {
        if index.get::<bool, _>("partial") {
            continue;
        }
        let name: String = index.get("name");
        let columns = asked(db, format!("PRAGMA index_info({name})")).await;
        all.push(columns.iter().map(|column| column.get("name")).collect());
    }
    all
}

/// Without one, deleting what is referred to reads all that may refer to it.
#[tokio::test]
async fn each_reference_has_an_index() {
    on_each(async |w| {
        if !w.database.url.starts_with("sqlite") {
            return;
        }
        let mut db = SqliteConnection::connect(&w.database.url).await.unwrap();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table'".to_owned();
        let (mut found, mut without) = (0, Vec::new());
        for table in asked(&mut db, tables).await {
            let table: String = table.get("name");
            let mut references: BTreeMap<i64, Vec<String>> = BTreeMap::new();
            for part in asked(&mut db, format!("PRAGMA foreign_key_list({table})")).await {
                references
                    .entry(part.get("id"))
                    .or_default()
                    .push(part.get("from"));
            }
            let indexes = indexes(&mut db, &table).await;
            for columns in references.into_values() {
                found += 1;
                if !indexes.iter().any(|index| index.starts_with(&columns)) {
                    without.push(format!("{table} ({})", columns.join(", ")));
                }
            }
        }
        assert!(found > 50, "{found}");
        assert!(without.is_empty(), "{without:#?}");
    })
    .await;
}

//! What changed, for the log: only what differs, and never a secret.

use serde::Serialize;
use serde_json::{Map, Value};
use wire::AuditChange;

/// Members whose value never reaches the log.
const SECRET: [&str; 4] = ["client_secret", "secret", "token", "password"];
/// Stands for a secret.
const HIDDEN: &str = "***";

/// From `before` to `after`; `None` for what did not, or does not, exist.
pub(crate) fn change<T: Serialize>(before: Option<&T>, after: Option<&T>) -> Option<AuditChange> {
    let value = |it: Option<&T>| {
        let mut value = it.map_or(Value::Null, |it| serde_json::to_value(it).unwrap_or_default());
        hide(&mut value);
        value
    };
    let (mut before, mut after) = (value(before), value(after));
    if let (Value::Object(a), Value::Object(b)) = (&mut before, &mut after) {
        drop_equal(a, b);
    }
    Some(AuditChange { before, after })
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if SECRET.contains(&name.as_str()) && !value.is_null() {
                    *value = HIDDEN.into();
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// Leaves only what differs, member by member.
fn drop_equal(before: &mut Map<String, Value>, after: &mut Map<String, Value>) {
    let names: Vec<String> = before
        .keys()
        .filter(|n| after.contains_key(*n))
        .cloned()
        .collect();
    for name in names {
        if let (Some(Value::Object(a)), Some(Value::Object(b))) =
            (before.get_mut(&name), after.get_mut(&name))
        {
            drop_equal(a, b);
            if !a.is_empty() || !b.is_empty() {
                continue;
            }
        } else if before.get(&name) != after.get(&name) {
            continue;
        }
        before.remove(&name);
        after.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_logged() {
        let before = json!({"name": "a", "oauth": {"grant_seconds": 1, "x": [1]}, "gone": 1});
        let after = json!({"name": "a", "oauth": {"grant_seconds": 2, "x": [1]}});
        let change = change(Some(&before), Some(&after)).unwrap();
        assert_eq!(change.before, json!({"oauth": {"grant_seconds": 1}, "gone": 1}));
        assert_eq!(change.after, json!({"oauth": {"grant_seconds": 2}}));
    }

    #[test]
    fn au3_secrets_are_never_logged() {
        let after = json!({"client_secret": "s3cret", "list": [{"password": "s3cret"}]});
        let change = change(None, Some(&after)).unwrap();
        assert_eq!(
            change.after,
            json!({"client_secret": "***", "list": [{"password": "***"}]})
        );
        assert_eq!(change.before, Value::Null);
    }
}

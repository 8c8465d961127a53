//! Where to go after signing in: only ever to a page of this origin.

pub use policy::path::local_target as safe;

/// `base?a=b&…`, with the parameters that have a value.
pub(crate) fn with_query(base: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() {
        base.to_owned()
    } else {
        format!("{base}?{query}")
    }
}

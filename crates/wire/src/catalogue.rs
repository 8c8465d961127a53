//! Known agents: what each sends, as its publisher says, so that it gets in at the first try. The facts are data, in
//! `catalogue.json`, with a version and a date: publishers move.

use crate::{DocumentDecision, DocumentId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::LazyLock;

/// The catalogue that this version came with.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Catalogue {
    /// Counts its editions.
    pub version: u32,
    /// When its facts were last looked at.
    pub date: String,
    /// The agents.
    pub agents: Vec<Entry>,
}

/// An agent of the catalogue.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What tells it apart.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// Who makes it.
    pub publisher: String,
    /// Its Client ID Metadata Document as published.
    #[serde(default)]
    pub document: Option<Value>,
    /// Where its codes go, of one that has no document.
    #[serde(default)]
    redirect_uris: Vec<String>,
}

impl Entry {
    /// The address of its document, which it sends as `client_id`.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.document.as_ref()?.get("client_id")?.as_str()
    }

    /// Where its codes go; of loopback addresses the port may be another one.
    #[must_use]
    pub fn redirect_uris(&self) -> Vec<String> {
        let Some(document) = &self.document else {
            return self.redirect_uris.clone();
        };
        let listed = document.get("redirect_uris").and_then(Value::as_array);
        let listed = listed.into_iter().flatten().filter_map(Value::as_str);
        listed.map(ToOwned::to_owned).collect()
    }
}

/// The catalogue.
///
/// # Panics
/// When the file that is compiled in is not one, which a test rules out.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
        let read = serde_json::from_str(include_str!("catalogue.json"));
        read.unwrap_or_else(|error| panic!("the catalogue of agents cannot be read: {error}"))
    });
    &CATALOGUE
}

/// The agent of the catalogue that sends this `client_id`.
#[must_use]
pub fn known_agent(client_id: &str) -> Option<&'static Entry> {
    let mut agents = catalogue().agents.iter();
    agents.find(|entry| entry.client_id() == Some(client_id))
}

/// An agent of the catalogue, and what the organisation says of it. `/api/v1/known-agents`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct KnownAgent {
    /// What tells it apart.
    pub key: String,
    /// What it is called.
    pub name: String,
    /// Who makes it.
    pub publisher: String,
    /// What it sends as `client_id`: the address of its document. Absent for one that registers itself, or is entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where its codes go; of loopback addresses the port may be another one.
    pub redirect_uris: Vec<String>,
    /// Its metadata document as published when the catalogue was made; used without asking anybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Value>,
    /// The edition of the catalogue.
    pub catalogue_version: u32,
    /// When its facts were last looked at.
    pub catalogue_date: String,
    /// What the organisation decided about its document, in place of the catalogue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<DocumentDecision>,
    /// Where it decided that (`/agent-documents`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<DocumentId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_catalogue_can_be_read_and_says_nothing_twice() {
        let catalogue = catalogue();
        let keys: BTreeSet<_> = catalogue.agents.iter().map(|entry| &entry.key).collect();
        assert_eq!(keys.len(), catalogue.agents.len());
        let documents: Vec<_> = catalogue.agents.iter().filter_map(Entry::client_id).collect();
        let distinct: BTreeSet<_> = documents.iter().collect();
        assert_eq!(distinct.len(), documents.len());
        assert!(documents.iter().all(|id| id.starts_with("https://")));
        for entry in &catalogue.agents {
            assert_eq!(
                entry.document.is_some(),
                entry.client_id().is_some(),
                "{}",
                entry.key
            );
            assert!(entry.document.is_none() || !entry.redirect_uris().is_empty());
        }
        assert_eq!(
            known_agent("https://chatgpt.com/oauth/codex/client.json").map(|entry| entry.name.as_str()),
            Some("Codex")
        );
        assert_eq!(known_agent("https://chatgpt.com/oauth/codex/client.json/"), None);
    }
}

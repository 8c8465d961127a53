//! Whether documents can be fetched: many servers have no way out. Nobody is contacted to find out; it shows in what
//! is fetched anyway, at those hosts that are known to answer.

use std::sync::{Mutex, PoisonError};
use tokens::document::Unusable;
use wire::Timestamp;

/// Whether metadata documents are fetched (`metadata_documents` in the configuration).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fetching {
    /// Yes; but while the publishers of the catalogue cannot be reached, people do not wait for what fails anyway.
    #[default]
    Auto,
    /// Yes, always.
    On,
    /// Never: only what is in the catalogue, pinned, or was fetched before.
    Off,
}

/// How long nothing is tried after a publisher of the catalogue could not be reached, in seconds.
const PAUSE: i64 = 60;

pub(crate) struct Egress {
    mode: Fetching,
    /// When a publisher of the catalogue could not be reached, unless somebody was since; and why.
    silent: Mutex<Option<(Timestamp, String)>>,
}

impl Egress {
    pub(crate) const fn new(mode: Fetching) -> Self {
        Self {
            mode,
            silent: Mutex::new(None),
        }
    }

    /// Whether documents may be fetched at all.
    pub(crate) const fn is_off(&self) -> bool {
        matches!(self.mode, Fetching::Off)
    }

    /// Goes on if it makes sense to fetch something now.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Unusable> {
        if self.is_off() {
            let text = "this server is set not to fetch documents (metadata_documents = \"off\"); an administrator can \
                        pin it";
            return Err(Unusable::new("fetching_off", text));
        }
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match &*silent {
            Some((since, why)) if self.mode == Fetching::Auto && now < since.plus_seconds(PAUSE) => {
                let text = format!(
                    "this server has no way out to the internet at the moment ({why}); an administrator can pin it"
                );
                Err(Unusable::new("no_egress", text))
            }
            _ => Ok(()),
        }
    }

    /// Learns from a fetch. That a host which anybody may name does not answer says nothing about us; that one of the
    /// catalogue does not, does.
    pub(crate) fn note<T>(&self, client_id: &str, outcome: &Result<T, Unusable>, now: Timestamp) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Err(unusable) if unusable.is_silence() => {
                if wire::known_agent(client_id).is_some() {
                    *silent = Some((now, unusable.text.clone()));
                }
            }
            // Refused before it left, so nothing was learned.
            Err(unusable) if unusable.code.starts_with("address_") => {}
            _ => *silent = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "https://chatgpt.com/oauth/codex/client.json";
    const OTHER: &str = "https://agent.example/c";

    fn failed(code: &'static str) -> Result<(), Unusable> {
        Err(Unusable::new(code, "x"))
    }

    #[test]
    fn only_known_publishers_tell_that_there_is_no_way_out_and_whoever_answers_that_there_is() {
        let egress = Egress::new(Fetching::Auto);
        let now = Timestamp::from_seconds(1000);
        assert_eq!(egress.check(now), Ok(()));
        egress.note(OTHER, &failed("timeout"), now);
        assert_eq!(egress.check(now), Ok(()), "anybody can name a host that is dead");
        egress.note(KNOWN, &failed("not_reached"), now);
        assert_eq!(egress.check(now).unwrap_err().code, "no_egress");
        assert_eq!(egress.check(now.plus_seconds(PAUSE)), Ok(()), "it is tried again");
        egress.note(OTHER, &failed("address_refused"), now);
        assert!(egress.check(now).is_err(), "nothing left the server");
        egress.note(OTHER, &failed("status_not_200"), now);
        assert_eq!(egress.check(now), Ok(()), "somebody answered");
    }

    #[test]
    fn what_is_set_is_not_learned() {
        let now = Timestamp::from_seconds(1000);
        let on = Egress::new(Fetching::On);
        on.note(KNOWN, &failed("timeout"), now);
        assert_eq!(on.check(now), Ok(()));
        let off = Egress::new(Fetching::Off);
        off.note(KNOWN, &Ok(()), now);
        assert_eq!(off.check(now).unwrap_err().code, "fetching_off");
    }
}

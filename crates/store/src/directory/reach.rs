//! What an app's rules come down to, for comparing them and for narrowing down whom they may let in.

use crate::{Error, Result, sha256};
use wire::{Group, PolicyDecision, PolicySpec, RuleRef, Selector};

/// The people whom an app's rules may let in, from the outside: nobody beyond it can get in, not everybody
/// within it does. Asking the rules about few people instead of all is what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// There is no telling.
    Anyone,
    /// Only people with one of these addresses, or an address in one of these domains, all in lower case.
    Only {
        emails: Vec<String>,
        domains: Vec<String>,
    },
}

impl Reach {
    pub(crate) fn of(policies: &[(RuleRef, PolicySpec)]) -> Self {
        let (mut emails, mut domains) = (Vec::new(), Vec::new());
        for (_, policy) in policies {
            match policy.decision {
                PolicyDecision::Deny | PolicyDecision::ServiceAuth => continue,
                PolicyDecision::Bypass => return Self::Anyone,
                PolicyDecision::Allow => {}
            }
            for selector in &policy.include {
                match selector {
                    Selector::Email { email } => emails.push(email.to_ascii_lowercase()),
                    Selector::EmailList { emails: list } => {
                        emails.extend(list.iter().map(|email| email.to_ascii_lowercase()));
                    }
                    Selector::EmailDomain { domain } => domains.push(domain.to_ascii_lowercase()),
                    _ => return Self::Anyone,
                }
            }
        }
        Self::Only { emails, domains }
    }
}

/// Equal for rules that decide alike about people and agents, whatever they are called.
pub(crate) fn fingerprint(
    floor: &[Selector],
    policies: &[(RuleRef, PolicySpec)],
    groups: &[Group],
) -> Result<String> {
    let policies: Vec<_> = policies
        .iter()
        .map(|(_, p)| (p.decision, &p.include, &p.require, &p.exclude))
        .collect();
    let mut text = serde_json::to_string(&(floor, policies)).map_err(Error::internal)?;
    // Groups count where they are asked for.
    for group in groups
        .iter()
        .filter(|g| text.contains(g.id.as_ref()))
        .collect::<Vec<_>>()
    {
        let spec = serde_json::to_string(&(&group.id, &group.spec)).map_err(Error::internal)?;
        text.push_str(&spec);
    }
    Ok(sha256(text))
}

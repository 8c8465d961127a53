//! Rules in words, for people who ask why.

use crate::rule::GroupRules;
use wire::{Actor, ClientTier, Selector, Weekday};

/// A phrase that fits after "because": `the e-mail address is ada@example.com`.
pub(crate) fn phrase(selector: &Selector, groups: &[GroupRules]) -> String {
    match selector {
        Selector::Everyone {} => "it is for everyone".into(),
        Selector::Email { email } => format!("the verified e-mail address is {email}"),
        Selector::EmailDomain { domain } => format!("the verified e-mail address is at {domain}"),
        Selector::Group { group } => match groups.iter().find(|g| g.id == *group) {
            Some(known) => format!("the person is in the group “{}”", known.name),
            None => format!("the person is in the group {group}"),
        },
        Selector::Claim { name, value } => format!("the claim “{name}” is or contains “{value}”"),
        Selector::Connection { connection } => format!("the person signed in with {connection}"),
        Selector::Ip { ranges } => format!("the address is in {}", ranges.join(", ")),
        Selector::ServiceToken { service_token } => format!("the service token is {service_token}"),
        Selector::AnyServiceToken {} => "a service token is used".into(),
        Selector::Client { client } => format!("the agent is {client}"),
        Selector::ClientTier { at_least } => format!("the agent is {}", tier(*at_least)),
        Selector::Actor {
            actor: Actor::Browser,
        } => "a person acts in a browser".into(),
        Selector::Actor { actor: Actor::Agent } => "an agent acts".into(),
        Selector::Actor {
            actor: Actor::Service,
        } => "a service acts".into(),
        Selector::Scope { scope } => format!("the access token carries the scope “{scope}”"),
        Selector::Request { methods, path } => match (methods.as_slice(), path) {
            ([], None) => "it is for any request".into(),
            ([], Some(path)) => format!("the path matches {path}"),
            (methods, None) => format!("the method is {}", methods.join(" or ")),
            (methods, Some(path)) => format!("the request is {} {path}", methods.join(" or ")),
        },
        Selector::McpTool { tool } => format!("the tool that is called matches {tool}"),
        Selector::Mfa {} => "the person used a second factor".into(),
        Selector::EmailList { emails } => match emails.as_slice() {
            [one] => format!("the verified e-mail address is {one}"),
            many => format!("the verified e-mail address is one of {} listed", many.len()),
        },
        Selector::AuthMethod { amr, acr } => {
            let claim = |name: &str, values: &[String]| {
                (!values.is_empty()).then(|| format!("“{name}” {}", values.join(" or ")))
            };
            let claims: Vec<_> = [claim("amr", amr), claim("acr", acr)]
                .into_iter()
                .flatten()
                .collect();
            format!("the person signed in with {}", claims.join(" or "))
        }
        Selector::Time {
            days,
            from,
            to,
            utc_offset_minutes,
        } => {
            let days: Vec<_> = days.iter().map(|day| day_name(*day)).collect();
            let days = if days.is_empty() {
                "any day".into()
            } else {
                days.join(", ")
            };
            let sign = if *utc_offset_minutes < 0 { '-' } else { '+' };
            let (hours, minutes) = (utc_offset_minutes.abs() / 60, utc_offset_minutes.abs() % 60);
            format!("it is {days} from {from} to {to} (UTC{sign}{hours:02}:{minutes:02})")
        }
    }
}

const fn tier(tier: ClientTier) -> &'static str {
    match tier {
        ClientTier::Localhost => "any registered one",
        ClientTier::Unverified => "at least registered with a redirect",
        ClientTier::DomainVerified => "at least domain-verified",
        ClientTier::Approved => "approved by an administrator",
    }
}

const fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Mon => "Monday",
        Weekday::Tue => "Tuesday",
        Weekday::Wed => "Wednesday",
        Weekday::Thu => "Thursday",
        Weekday::Fri => "Friday",
        Weekday::Sat => "Saturday",
        Weekday::Sun => "Sunday",
    }
}

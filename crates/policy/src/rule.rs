//! One selector, compiled, and the answer it gives about a request.

use crate::{
    ClientFacts, CompileError, Facts, UserFacts,
    pattern::{self, PathPattern, ToolPattern, check_method},
    week::Week,
};
use ipnet::{IpNet, Ipv4Net};
use serde_json::Value;
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
};
use wire::{
    Actor, Address, Authentication, ClientTier, ConnectionId, GroupId, Selector, ServiceTokenId, UserId,
};

/// Values of `amr` (RFC 8176) that show something beyond a password, PIN or question.
pub(crate) const SECOND_FACTORS: [&str; 13] = [
    "mfa", "mca", "otp", "hwk", "swk", "sc", "fpt", "face", "iris", "retina", "vbm", "sms", "tel",
];

/// Addresses in one list.
const MOST_EMAILS: usize = 1000;

/// What a selector can say. The order lets a group, which matches if any part does, take the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    No,
    /// The fact is missing or unproven, and no later request will change that.
    Unproven,
    /// The fact is not known yet.
    Open,
    Yes,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// Whether a match speaks for letting the request through, or against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    For,
    Against,
}

/// The facts, seen from one place in one policy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) facts: &'a Facts<'a>,
    /// The one tool call that is looked at.
    pub(crate) tool: Option<&'a str>,
    pub(crate) side: Side,
    /// In a policy that asks for nobody, `everyone` includes those who have not signed in.
    pub(crate) bypass: bool,
}

/// Who is behind the request.
pub(crate) enum Who<'a> {
    Person(UserFacts<'a>),
    Service(&'a ServiceTokenId),
    Nobody,
}

impl<'a> Who<'a> {
    /// Facts that contradict each other prove nobody.
    pub(crate) const fn of(facts: &Facts<'a>) -> Self {
        match (facts.actor, facts.user, facts.service_token) {
            (Actor::Browser | Actor::Agent, Some(user), _) => Self::Person(user),
            (Actor::Service, None, Some(token)) => Self::Service(token),
            _ => Self::Nobody,
        }
    }
}

/// A compiled selector beside its source, which says it in words.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) test: Test,
    pub(crate) source: Selector,
}

#[derive(Debug)]
pub(crate) enum Test {
    Everyone,
    Email(Box<str>),
    EmailDomain(Box<str>),
    Group(usize),
    Claim {
        name: Box<str>,
        value: Box<str>,
    },
    Connection(ConnectionId),
    Ip(Vec<IpNet>),
    ServiceToken(ServiceTokenId),
    AnyServiceToken,
    Client(Box<str>),
    ClientTier(ClientTier),
    Actor(Actor),
    Scope(Box<str>),
    Request {
        methods: Vec<String>,
        path: Option<PathPattern>,
    },
    McpTool(ToolPattern),
    Mfa,
    /// Lower case and sorted.
    EmailList(Vec<Box<str>>),
    AuthMethod {
        amr: Vec<String>,
        acr: Vec<String>,
    },
    Time(Week),
}

/// A compiled group.
#[derive(Debug)]
pub(crate) struct GroupRules {
    pub(crate) id: GroupId,
    pub(crate) name: String,
    pub(crate) members: HashSet<UserId>,
    pub(crate) include: Vec<Rule>,
}

impl Rule {
    /// `group` turns a group's identifier into its index; `None` if there is none or none may be here.
    pub(crate) fn compile(
        source: &Selector,
        pointer: &str,
        group: &mut dyn FnMut(&GroupId) -> Result<usize, CompileError>,
    ) -> Result<Self, CompileError> {
        let at = |field: &str, detail: String| CompileError::new(format!("{pointer}/{field}"), detail);
        let test = match source {
            Selector::Everyone {} => Test::Everyone,
            Selector::Email { email } => {
                check_email(email).map_err(|detail| at("email", detail))?;
                Test::Email(email.to_ascii_lowercase().into())
            }
            Selector::EmailList { emails } => {
                if !(1..=MOST_EMAILS).contains(&emails.len()) {
                    return Err(at("emails", format!("1 to {MOST_EMAILS} addresses")));
                }
                let mut list = Vec::with_capacity(emails.len());
                for (i, email) in emails.iter().enumerate() {
                    check_email(email).map_err(|detail| at(&format!("emails/{i}"), detail))?;
                    list.push(email.to_ascii_lowercase().into_boxed_str());
                }
                list.sort_unstable();
                list.dedup();
                Test::EmailList(list)
            }
            Selector::EmailDomain { domain } => {
                if domain.is_empty() || domain.contains('@') || domain.contains(char::is_whitespace) {
                    return Err(at("domain", "a domain without `@`, such as `example.com`".into()));
                }
                Test::EmailDomain(domain.to_ascii_lowercase().into())
            }
            Selector::Group { group: id } => {
                Test::Group(group(id).map_err(|e| match e.pointer.is_empty() {
                    true => at("group", e.detail),
                    false => e,
                })?)
            }
            Selector::Claim { name, value } => {
                if name.is_empty() {
                    return Err(at("name", "a claim needs a name".into()));
                }
                Test::Claim {
                    name: name.as_str().into(),
                    value: value.as_str().into(),
                }
            }
            Selector::Connection { connection } => Test::Connection(connection.clone()),
            Selector::Ip { ranges } => {
                if ranges.is_empty() {
                    return Err(at("ranges", "at least one network is needed".into()));
                }
                let network = |(i, text): (usize, &String)| {
                    parse_network(text).ok_or_else(|| {
                        at(
                            &format!("ranges/{i}"),
                            "not a network in CIDR notation, such as `10.0.0.0/8`".into(),
                        )
                    })
                };
                Test::Ip(ranges.iter().enumerate().map(network).collect::<Result<_, _>>()?)
            }
            Selector::ServiceToken { service_token } => Test::ServiceToken(service_token.clone()),
            Selector::AnyServiceToken {} => Test::AnyServiceToken,
            Selector::Client { client } => {
                if client.is_empty() {
                    return Err(at("client", "a client's id, URL or host is needed".into()));
                }
                Test::Client(client.as_str().into())
            }
            Selector::ClientTier { at_least } => Test::ClientTier(*at_least),
            Selector::Actor { actor } => Test::Actor(*actor),
            Selector::Scope { scope } => {
                if scope.is_empty() || scope.contains(' ') {
                    return Err(at("scope", "exactly one scope is needed".into()));
                }
                Test::Scope(scope.as_str().into())
            }
            Selector::Request { methods, path } => {
                for (i, method) in methods.iter().enumerate() {
                    check_method(method).map_err(|detail| at(&format!("methods/{i}"), detail))?;
                }
                let path = path.as_deref().map(PathPattern::compile).transpose();
                Test::Request {
                    methods: pattern::methods(methods),
                    path: path.map_err(|detail| at("path", detail))?,
                }
            }
            Selector::McpTool { tool } => {
                Test::McpTool(ToolPattern::compile(tool).map_err(|detail| at("tool", detail))?)
            }
            Selector::Mfa {} => Test::Mfa,
            Selector::AuthMethod { amr, acr } => {
                if amr.is_empty() && acr.is_empty() {
                    return Err(at("amr", "at least one value of `amr` or `acr` is needed".into()));
                }
                for (field, values) in [("amr", amr), ("acr", acr)] {
                    if let Some(i) = values.iter().position(String::is_empty) {
                        return Err(at(&format!("{field}/{i}"), "it cannot be empty".into()));
                    }
                }
                Test::AuthMethod {
                    amr: amr.clone(),
                    acr: acr.clone(),
                }
            }
            Selector::Time {
                days,
                from,
                to,
                utc_offset_minutes,
            } => Test::Time(
                Week::compile(days, (from, to), *utc_offset_minutes)
                    .map_err(|(f, detail)| at(f, detail.into()))?,
            ),
        };
        Ok(Self {
            test,
            source: source.clone(),
        })
    }

    pub(crate) fn ask(&self, view: &View<'_>, groups: &[GroupRules]) -> Answer {
        let facts = view.facts;
        match &self.test {
            Test::Everyone if view.bypass => Answer::Yes,
            Test::Everyone => match Who::of(facts) {
                Who::Nobody => Answer::Unproven,
                Who::Person(_) | Who::Service(_) => Answer::Yes,
            },
            Test::Email(email) => of_person(facts, |user| match proven_email(user) {
                Some(given) => given.is(email).into(),
                None => Answer::Unproven,
            }),
            Test::EmailDomain(domain) => of_person(facts, |user| match proven_email(user) {
                Some(given) => given.is_in(domain).into(),
                None => Answer::Unproven,
            }),
            Test::Group(index) => groups[*index].ask(view),
            Test::Claim { name, value } => of_person(facts, |user| match &**name {
                "amr" => proven(facts, |proof| words(&proof.amr, |word| word == &**value)),
                "acr" => proven(facts, |proof| words(&proof.acr, |word| word == &**value)),
                // Differs at each sign-in; no rule can name it.
                "auth_time" => Answer::Unproven,
                name => claim(user, name, value),
            }),
            Test::Connection(id) => of_person(facts, |user| (user.connection == id).into()),
            Test::Ip(networks) => match facts.ip {
                Some(ip) => {
                    let ip = ip.to_canonical();
                    networks.iter().any(|network| network.contains(&ip)).into()
                }
                None => Answer::Open,
            },
            Test::ServiceToken(id) => of_service(facts, |given| given == id),
            Test::AnyServiceToken => of_service(facts, |_| true),
            Test::Client(name) => client(facts, name),
            Test::ClientTier(at_least) => match acting_client(facts) {
                Some(client) => (client.tier >= *at_least).into(),
                None => no_client(facts),
            },
            Test::Actor(actor) => (facts.actor == *actor).into(),
            Test::Scope(scope) => match (Who::of(facts), facts.actor, facts.scopes) {
                (Who::Nobody, ..) => Answer::Unproven,
                (_, Actor::Agent, Some(given)) => given.iter().any(|s| **s == **scope).into(),
                (_, Actor::Agent, None) => Answer::Open,
                _ => Answer::No,
            },
            Test::Request { methods, path } => match facts.request {
                Some(request) => {
                    let also = match view.side {
                        Side::For => &[],
                        Side::Against => request.also,
                    };
                    let named = |m: &String| m == request.method || also.contains(&m.as_str());
                    let method = methods.is_empty() || methods.iter().any(named);
                    let path = path.as_ref().is_none_or(|pattern| match view.side {
                        Side::For => pattern.matches(request.path, request.case),
                        Side::Against => pattern.matches_any_spelling(request.path, request.case),
                    });
                    (method && path).into()
                }
                None => Answer::Open,
            },
            Test::McpTool(pattern) => match facts.request {
                Some(_) => {
                    let matches = |tool| match view.side {
                        Side::For => pattern.matches(tool),
                        Side::Against => pattern.matches_any_case(tool),
                    };
                    view.tool.is_some_and(matches).into()
                }
                None => Answer::Open,
            },
            Test::Mfa => of_person(facts, |_| {
                proven(facts, |proof| {
                    words(&proof.amr, |amr| SECOND_FACTORS.contains(&amr))
                })
            }),
            Test::EmailList(emails) => of_person(facts, |user| match proven_email(user) {
                Some(given) => {
                    let lower = || given.as_str().bytes().map(|b| b.to_ascii_lowercase());
                    let found = emails.binary_search_by(|known| known.bytes().cmp(lower()));
                    found.is_ok().into()
                }
                None => Answer::Unproven,
            }),
            Test::AuthMethod { amr, acr } => of_person(facts, |_| {
                proven(facts, |proof| {
                    let among = |values: &[String], word: &str| values.iter().any(|v| v == word);
                    let by_method = (!amr.is_empty()).then(|| words(&proof.amr, |word| among(amr, word)));
                    let by_class = (!acr.is_empty()).then(|| words(&proof.acr, |word| among(acr, word)));
                    by_method.max(by_class).unwrap_or(Answer::No)
                })
            }),
            Test::Time(week) => facts.at.map_or(Answer::Open, |at| week.contains(at).into()),
        }
    }
}

impl GroupRules {
    fn ask(&self, view: &View<'_>) -> Answer {
        let member = of_person(view.facts, |user| self.members.contains(user.id).into());
        if member == Answer::Yes {
            return member;
        }
        // Groups hold no groups, so the parts need none.
        self.include
            .iter()
            .map(|rule| rule.ask(view, &[]))
            .fold(member, Answer::max)
    }
}

fn of_person<'a>(facts: &Facts<'a>, ask: impl FnOnce(&UserFacts<'a>) -> Answer) -> Answer {
    match Who::of(facts) {
        Who::Person(user) => ask(&user),
        Who::Service(_) => Answer::No,
        Who::Nobody => Answer::Unproven,
    }
}

fn of_service(facts: &Facts<'_>, ask: impl FnOnce(&ServiceTokenId) -> bool) -> Answer {
    match Who::of(facts) {
        Who::Service(token) => ask(token).into(),
        Who::Person(_) => Answer::No,
        Who::Nobody => Answer::Unproven,
    }
}

/// What cannot be read as an address proves nothing, whoever vouches for it.
fn proven_email<'a>(user: &UserFacts<'a>) -> Option<Address<'a>> {
    let proven = user.email.filter(|_| user.email_verified)?;
    Address::parse(proven).ok()
}

/// What the proof of this session, or of the session in which the grant was given, says.
fn proven(facts: &Facts<'_>, ask: impl FnOnce(&Authentication) -> Answer) -> Answer {
    facts.authentication.map_or(Answer::Open, ask)
}

/// Whether one of some words is meant; none at all proves nothing.
fn words<'a>(all: impl IntoIterator<Item = &'a String>, is_meant: impl Fn(&str) -> bool) -> Answer {
    let mut all = all.into_iter().peekable();
    match all.peek() {
        None => Answer::Unproven,
        Some(_) => all.any(|word| is_meant(word)).into(),
    }
}

/// As little as old rules satisfy; [`check_selector`] says what new ones must. An address that cannot be read is
/// nobody's: such a rule never matches.
fn check_email(text: &str) -> Result<(), String> {
    match text.split_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(()),
        _ => Err("not an e-mail address".into()),
    }
}

/// What a selector must satisfy, beyond what compiles, to be saved: whatever is compared exactly must be what it
/// looks like, since what could never match, or matches something else than it shows, helps nobody.
pub(crate) fn check_selector(selector: &Selector, pointer: &str) -> Result<(), CompileError> {
    let at = |field: String, detail: String| Err(CompileError::new(format!("{pointer}/{field}"), detail));
    let address = |field: String, text: &str| match Address::parse(text) {
        Ok(_) => Ok(()),
        Err(why) => at(
            field,
            format!("not an e-mail address that can be compared: {why}"),
        ),
    };
    let plain = |field: &str, text: &str| match wire::is_plain(text) {
        true => Ok(()),
        false => at(
            field.to_owned(),
            "it is compared exactly, and holds blanks at its ends or characters that cannot be seen".into(),
        ),
    };
    match selector {
        Selector::Email { email } => address("email".into(), email),
        Selector::EmailList { emails } => {
            let mut all = emails.iter().enumerate();
            all.try_for_each(|(i, email)| address(format!("emails/{i}"), email))
        }
        Selector::EmailDomain { domain } if !wire::is_domain(domain) => at(
            "domain".into(),
            "a domain without `@`, such as `example.com`; other scripts in their ASCII form (`xn--…`)".into(),
        ),
        Selector::Claim { name, value } => {
            plain("name", name)?;
            plain("value", value)
        }
        Selector::Ip { ranges } => ranges.iter().enumerate().try_for_each(|(i, text)| {
            // A length that was meant for another address opens more than was meant.
            match text.parse::<IpNet>() {
                Ok(network) if network.trunc() != network => at(
                    format!("ranges/{i}"),
                    format!("it has bits beyond its length: write it as {}", network.trunc()),
                ),
                _ => Ok(()),
            }
        }),
        _ => Ok(()),
    }
}

fn no_client(facts: &Facts<'_>) -> Answer {
    match (Who::of(facts), facts.actor) {
        (Who::Nobody, _) | (_, Actor::Agent) => Answer::Unproven,
        (_, Actor::Browser | Actor::Service) => Answer::No,
    }
}

/// Software acts only where an agent does.
fn acting_client<'a>(facts: &Facts<'a>) -> Option<ClientFacts<'a>> {
    facts.client.filter(|_| facts.actor == Actor::Agent)
}

fn client(facts: &Facts<'_>, name: &str) -> Answer {
    let Some(client) = acting_client(facts) else {
        return no_client(facts);
    };
    if client.id.as_ref() == name || client.client_id == name {
        return Answer::Yes;
    }
    match client.verified_host {
        Some(host) if host.eq_ignore_ascii_case(name) => match client.tier >= ClientTier::DomainVerified {
            true => Answer::Yes,
            false => Answer::Unproven,
        },
        _ => Answer::No,
    }
}

fn claim(user: &UserFacts<'_>, name: &str, value: &str) -> Answer {
    let held = user.claims.get(name).is_some_and(|claim| match claim {
        Value::Array(items) => items.iter().any(|item| equals(item, value)),
        one => equals(one, value),
    });
    if held || (name == "groups" && user.groups.iter().any(|group| group == value)) {
        return Answer::Yes;
    }
    if user.claims.get(name).is_some_and(is_incomparable) {
        return Answer::Unproven;
    }
    // A provider that has too many values to send says that they are elsewhere (OpenID Connect Core 5.6.2;
    // Entra does it with groups). What was not sent is not a "no".
    let elsewhere = user
        .claims
        .get("_claim_names")
        .is_some_and(|names| names.get(name).is_some())
        || (name == "groups"
            && user
                .claims
                .get("hasgroups")
                .is_some_and(|flag| equals(flag, "true")));
    if elsewhere { Answer::Unproven } else { Answer::No }
}

/// Whether a claim holds something that no value of a rule can be equal to, though it may be meant: it is not a "no".
fn is_incomparable(claim: &Value) -> bool {
    let one = |value: &Value| match value {
        Value::String(given) => !wire::is_plain(given),
        Value::Number(given) => given.is_f64(),
        Value::Array(_) | Value::Object(_) => true,
        Value::Null | Value::Bool(_) => false,
    };
    match claim {
        Value::Array(items) => items.iter().any(one),
        value => one(value),
    }
}

fn equals(claim: &Value, text: &str) -> bool {
    match claim {
        Value::String(given) => given == text,
        Value::Bool(given) => text == if *given { "true" } else { "false" },
        Value::Number(given) => given.to_string() == text,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// A network, or a single address; an IPv4 network that is written as IPv6 becomes IPv4.
fn parse_network(text: &str) -> Option<IpNet> {
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    let IpNet::V6(v6) = network else {
        return Some(network);
    };
    let mapped: Option<_> = Ipv6Addr::to_ipv4_mapped(&v6.network());
    match (mapped, v6.prefix_len().checked_sub(96)) {
        (Some(v4), Some(length)) => Ipv4Net::new(v4, length).ok().map(IpNet::V4),
        _ => Some(network),
    }
}

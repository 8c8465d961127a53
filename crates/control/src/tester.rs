//! `/policies/test`: what would happen, and why. It asks the engine that enforces, in the order in which the
//! gateway asks: what holds whatever the rules say, then the rules, then the scopes.
//! `/apps/{id}/policy-warnings`: rules that do not do what somebody may have meant.

use crate::answer::Json;
use crate::caller::Caller;
use crate::fault::{Answer, Fault};
use crate::input::{Body, Id, Query};
use crate::power::{Act, Question};
use crate::{Control, apps, check, clients, groups, policies, rules, users};
use policy::{RequestFacts, Ruleset};
use std::collections::HashMap;
use std::net::IpAddr;
use store::access::{Access, AccessRequest, Principal, Proof, Stage};
use store::{AppView, Paging, Released, user::Person};
use utoipa_axum::{router::OpenApiRouter, routes};
use wire::{
    Actor, App, AppId, AppKind, Authentication, Client, ClientState, Decision, Group, Page, PeopleTested,
    PersonRef, Policy, PolicyId, PolicySpec, PolicyTest, PolicyTestResult, PolicyTrace, Reason, RuleRef,
    RuleWarning, ServiceToken, TestOutcome, Timestamp, UserId,
};

/// People in one answer at the most.
const MOST: usize = 20_000;
/// People read at once.
const STEP: u32 = 5_000;
/// People judged without a pause.
const AT_A_TIME: usize = 100;
/// People named in an outcome.
const NAMED: usize = 20;

pub(crate) fn routes() -> OpenApiRouter<Control> {
    OpenApiRouter::default()
        .routes(routes!(test))
        .routes(routes!(warnings))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoQuery {}

/// Tries an app's rules, or unsaved ones, on a person, an agent, a service token or everyone
///
/// The answer comes from the engine that enforces. It changes nothing.
#[utoipa::path(post, path = "/policies/test", tag = "policies", request_body = PolicyTest,
    responses((status = 200, body = PolicyTestResult)))]
async fn test(
    caller: Caller,
    Query(NoQuery {}): Query<NoQuery>,
    question: Question,
    body: Body,
) -> Answer<Json<Released<PolicyTestResult>>> {
    let test: PolicyTest = body.read()?;
    let app = apps::load(&caller, &test.app).await;
    let app = app.map_err(|fault| fault.reference("/app", "app"))?;
    question.warrant(&caller, &Act::TestRules(&app.account))?;
    let subject = Subject::load(&caller, &test, &app).await?;
    let snapshot = caller.store().directory();
    let view = snapshot.app(&app.id).ok_or_else(Fault::not_found)?;
    let draft = draft(&caller, &test, view).await?;
    let asked = Asked::read(&test, view, caller.store().clock().now())?;
    let mut result = PolicyTestResult {
        decision: None,
        trace: Vec::new(),
        people: None,
        warnings: draft.as_ref().map_or_else(|| view.warnings(), Ruleset::warnings),
    };
    let trial = Trial {
        view,
        draft: draft.as_ref(),
        asked: &asked,
        client: subject.client.as_ref(),
    };
    if test.everyone {
        let _place = caller.lanes().testers.enter().await?;
        result.people = Some(everyone(&caller, &trial, &test).await?);
        let mut release = caller.release().within(&app.account);
        return Ok(Json(release.one(result).await?));
    }
    let stated;
    let who = match (&subject.person, &subject.service_token) {
        (Some(person), _) => {
            stated = authentication(&caller, &test, person).await?;
            Who::Person(person, &stated)
        }
        (None, Some(token)) => Who::Service(token),
        (None, None) => Who::Nobody,
    };
    result.trace = trial.explain(who);
    result.decision = Some(trial.decide(who));
    let mut release = caller.release().within(&app.account);
    Ok(Json(release.one(result).await?))
}

/// Policies of an app that never decide, or let more through than they say
///
/// Worked out from the rules alone: a policy that is said never to decide never does, whoever asks.
#[utoipa::path(get, path = "/apps/{id}/policy-warnings", tag = "apps",
    responses((status = 200, body = Page<RuleWarning>)))]
async fn warnings(caller: Caller, Id(id): Id<AppId>) -> Answer<Json<Page<RuleWarning>>> {
    let app = apps::load(&caller, &id).await?;
    let snapshot = caller.store().directory();
    let view = snapshot.app(&app.id).ok_or_else(Fault::not_found)?;
    let items = view.warnings();
    Ok(Json(Page { items, next: None }))
}

/// A proof that a test states is the word of the connection that somebody comes through, unless it names another.
fn stated(test: &PolicyTest, person: &Person) -> Option<Authentication> {
    let stated = test.authentication.as_ref()?;
    Some(Authentication {
        connection: stated
            .connection
            .clone()
            .or_else(|| Some(person.user.connection.clone())),
        ..stated.clone()
    })
}

/// How the person has proved who they are: as the test says, else as in what they hold.
async fn authentication(caller: &Caller, test: &PolicyTest, person: &Person) -> Answer<Authentication> {
    if let Some(stated) = stated(test, person) {
        return Ok(stated);
    }
    let (store, id) = (caller.store(), &person.user.id);
    let found = match &test.client {
        Some(client) => store::grant::newest_authentication(store, id, client).await?,
        None => None,
    };
    let found = match found {
        Some(found) => Some(found),
        None => {
            let mut found = store::session::newest_authentications(store, std::slice::from_ref(id)).await?;
            found.remove(id)
        }
    };
    Ok(found.unwrap_or_default())
}

/// Who is asked about, but for everyone.
struct Subject {
    person: Option<Person>,
    client: Option<Client>,
    service_token: Option<ServiceToken>,
}

impl Subject {
    async fn load(caller: &Caller, test: &PolicyTest, app: &App) -> Answer<Self> {
        if test.user.is_some() && test.everyone {
            return Err(Fault::invalid("/everyone", "not together with a person"));
        }
        if test.service_token.is_some() && (test.user.is_some() || test.client.is_some() || test.everyone) {
            return Err(Fault::invalid(
                "/service_token",
                "not together with a person or an agent",
            ));
        }
        if test.client.is_some() && test.user.is_none() && !test.everyone {
            return Err(Fault::invalid("/user", "an agent acts for a person"));
        }
        if test.cursor.is_some() && !test.everyone {
            return Err(Fault::invalid("/cursor", "only with `everyone`"));
        }
        if test.authentication.is_some() && test.user.is_none() && !test.everyone {
            return Err(Fault::invalid("/authentication", "only a person signs in"));
        }
        if test.scopes.is_some() && test.client.is_none() {
            return Err(Fault::invalid("/scopes", "only an agent has scopes"));
        }
        let person = match &test.user {
            Some(id) => {
                let user = users::load(caller, id).await;
                let user = user.map_err(|fault| fault.reference("/user", "user"))?;
                Some(store::user::get(caller.store(), &caller.org, &user.id).await?)
            }
            None => None,
        };
        let client = match &test.client {
            Some(id) => {
                let found = clients::load(caller, id).await;
                let client = found.map_err(|fault| fault.reference("/client", "client"))?;
                if client.app != app.id {
                    return Err(Fault::invalid("/client", "it is registered at another app"));
                }
                // Where its code will go is not known: trusted as far as every redirect of it allows.
                Some(Client {
                    tier: client.tier_at(None),
                    ..client
                })
            }
            None => None,
        };
        let service_token = match &test.service_token {
            Some(id) => {
                let found = store::service_token::get(caller.store(), &caller.org, id).await;
                let found = found.map_err(|e| Fault::from(e).reference("/service_token", "service token"))?;
                if found.account != app.account {
                    return Err(Fault::no_such("/service_token", "service token"));
                }
                Some(found)
            }
            None => None,
        };
        Ok(Self {
            person,
            client,
            service_token,
        })
    }
}

/// The unsaved rules, if there are any.
async fn draft(caller: &Caller, test: &PolicyTest, view: &AppView) -> Answer<Option<Ruleset>> {
    if test.draft.is_none() && test.policies.is_empty() && test.groups.is_empty() && test.floor.is_none() {
        return Ok(None);
    }
    let account = &view.account.id;
    let org = store::org::get(caller.store(), &caller.org).await?;
    let floor = test.floor.as_ref().unwrap_or(&org.spec.floor);
    check::at_most("/floor", floor, 200)?;
    let groups = drafted_groups(caller, test, view).await?;
    // Where the rule at each position came from, for what is wrong with it.
    let mut sources = Vec::new();
    let named: Vec<(RuleRef, PolicySpec)> = if let Some(draft) = &test.draft {
        check::at_most("/draft", draft, 100)?;
        if let Some(id) = test.policies.keys().next() {
            let detail = "not together with `draft`, which replaces all policies";
            return Err(Fault::invalid(format!("/policies/{id}"), detail));
        }
        let named = draft.iter().enumerate().map(|(i, spec)| {
            let id = format!("draft/{i}");
            sources.push(format!("/{id}"));
            let name = spec.name.clone();
            (RuleRef { id, name }, spec.clone())
        });
        named.collect()
    } else {
        let all: Vec<Policy> = rules::all(caller, account).await?;
        if let Some(id) = test.policies.keys().find(|id| !all.iter().any(|p| p.id == **id)) {
            return Err(Fault::no_such(format!("/policies/{id}"), "policy"));
        }
        let find = |id: &PolicyId| all.iter().find(|p| p.id == *id);
        let used = view.app.spec.policies.iter().filter_map(find);
        let named = used.map(|policy| {
            let spec = test.policies.get(&policy.id).unwrap_or(&policy.spec);
            let id = policy.id.to_string();
            sources.push(format!("/policies/{id}"));
            let name = spec.name.clone();
            (RuleRef { id, name }, spec.clone())
        });
        named.collect()
    };
    for (pointer, (_, spec)) in sources.iter().zip(&named) {
        policies::check_size(pointer, spec)?;
    }
    let compiled = Ruleset::compile(floor, &named, &groups).map_err(|mut error| {
        let at = |error: &policy::CompileError, list: &str| {
            let rest = error.pointer.strip_prefix(list)?;
            let (index, rest) = rest.split_once('/').unwrap_or((rest, ""));
            Some((index.parse::<usize>().ok()?, rest.to_owned()))
        };
        if let Some((i, rest)) = at(&error, "/policies/") {
            error.pointer = format!("{}/{rest}", sources[i]);
        } else if let Some((i, rest)) = at(&error, "/groups/") {
            error.pointer = format!("/groups/{}/{rest}", groups[i].id);
        }
        Fault::compile("", error)
    });
    compiled.map(Some)
}

async fn drafted_groups(caller: &Caller, test: &PolicyTest, view: &AppView) -> Answer<Vec<Group>> {
    if test.groups.len() > 100 {
        return Err(Fault::invalid("/groups", "at most 100"));
    }
    let mut groups = rules::groups(caller, &view.account.id).await?;
    for (id, spec) in &test.groups {
        groups::check_size(&format!("/groups/{id}"), spec)?;
        match groups.iter_mut().find(|group| group.id == *id) {
            Some(group) => group.spec = spec.clone(),
            None => groups.push(Group {
                id: id.clone(),
                account: view.account.id.clone(),
                spec: spec.clone(),
                created_at: Timestamp::default(),
                version: 0,
            }),
        }
    }
    Ok(groups)
}

/// What is asked for.
struct Asked {
    method: String,
    path: String,
    tool: Option<String>,
    is_mcp: bool,
    ip: Option<IpAddr>,
    at: Timestamp,
    scopes: Vec<String>,
}

impl Asked {
    fn read(test: &PolicyTest, view: &AppView, now: Timestamp) -> Answer<Self> {
        let method = test.method.clone().unwrap_or_else(|| "GET".into());
        if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err(Fault::invalid("/method", "upper case, such as `GET`"));
        }
        let root = if view.path.is_empty() { "/" } else { &view.path };
        let path = test.path.clone().unwrap_or_else(|| root.into());
        let below = path.strip_prefix(view.path.as_str());
        if !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(Fault::invalid("/path", format!("the app lies at {root}")));
        }
        let is_mcp = view.app.spec.kind == AppKind::Mcp;
        if test.tool.is_some() && !is_mcp {
            return Err(Fault::invalid("/tool", "only MCP servers have tools"));
        }
        let ip = test.ip.as_deref().map(|text| {
            let parsed = text.parse();
            parsed.map_err(|_| Fault::invalid("/ip", "an IPv4 or IPv6 address"))
        });
        let declared = || view.scopes.names().map(ToOwned::to_owned).collect();
        Ok(Self {
            method,
            path,
            tool: test.tool.clone(),
            is_mcp,
            ip: ip.transpose()?,
            at: test.at.unwrap_or(now),
            scopes: test.scopes.clone().unwrap_or_else(declared),
        })
    }

    fn tools(&self) -> Vec<&str> {
        self.tool.as_deref().into_iter().collect()
    }

    fn request<'a>(&'a self, tools: &'a [&'a str]) -> RequestFacts<'a> {
        if self.is_mcp {
            RequestFacts::mcp(&self.method, &self.path, tools)
        } else {
            RequestFacts::web(&self.method, &self.path)
        }
    }
}

/// Who comes.
#[derive(Clone, Copy)]
enum Who<'a> {
    Nobody,
    /// Through the trial's agent, if it has one.
    Person(&'a Person, &'a Authentication),
    Service(&'a ServiceToken),
}

struct Trial<'a> {
    view: &'a AppView,
    /// Unsaved rules in place of those in force.
    draft: Option<&'a Ruleset>,
    asked: &'a Asked,
    client: Option<&'a Client>,
}

impl Trial<'_> {
    /// What makes a credential prove nothing, so that whoever shows it is as good as nobody: let through only where
    /// nobody needs to sign in.
    fn disproves(&self, who: Who<'_>) -> Option<Reason> {
        match (who, self.client) {
            (Who::Nobody, _) => Some(Reason::Unauthenticated),
            (Who::Service(token), _) => {
                let ended = token.spec.expires_at.is_some_and(|end| end <= self.asked.at);
                (!token.spec.enabled || ended).then_some(Reason::CredentialInvalid)
            }
            (Who::Person(..), Some(_)) if !self.view.app.spec.managed_oauth => Some(Reason::ManagedOauthOff),
            // It never gets a token.
            (Who::Person(..), Some(client)) if client.state != ClientState::Active => {
                Some(Reason::ClientNotAccepted)
            }
            (Who::Person(..), _) => None,
        }
    }

    fn principal<'p>(&'p self, who: Who<'p>) -> Principal<'p> {
        match (who, self.client) {
            (Who::Nobody, _) => Principal::Stranger(Actor::Browser),
            (Who::Service(token), _) => Principal::Service(&token.id),
            (Who::Person(person, authentication), None) => {
                Principal::Person(person, Proof::Of(authentication))
            }
            (Who::Person(person, authentication), Some(client)) => Principal::Agent {
                person,
                proof: Proof::Of(authentication),
                client,
                scopes: Some(&self.asked.scopes),
            },
        }
    }

    fn request<'p>(&'p self, principal: Principal<'p>, tools: &'p [&'p str]) -> AccessRequest<'p> {
        AccessRequest {
            principal,
            stage: Stage::GoesOn,
            request: Some(self.asked.request(tools)),
            ip: self.asked.ip,
            at: self.asked.at,
        }
    }

    fn decide(&self, who: Who<'_>) -> Decision {
        if !policy::path::is_plain(&self.asked.path) {
            return Access::refused(Reason::AmbiguousPath).to_decision();
        }
        let tools = self.asked.tools();
        let Some(reason) = self.disproves(who) else {
            let request = self.request(self.principal(who), &tools);
            return self.view.decide_by(self.draft, &request).to_decision();
        };
        let actor = match (who, self.client) {
            (Who::Service(_), _) => Actor::Service,
            (Who::Person(..), Some(_)) => Actor::Agent,
            _ => Actor::Browser,
        };
        let request = self.request(Principal::Stranger(actor), &tools);
        let decision = self.view.decide_by(self.draft, &request).to_decision();
        match decision.allowed || decision.reason == Reason::Disabled {
            true => decision,
            false => Access::refused(reason).to_decision(),
        }
    }

    fn explain(&self, who: Who<'_>) -> Vec<PolicyTrace> {
        let tools = self.asked.tools();
        let request = self.request(self.principal(who), &tools);
        self.view.explain_by(self.draft, &request)
    }
}

/// Asks about everybody whom a connection of the account knows.
async fn everyone(caller: &Caller, trial: &Trial<'_>, test: &PolicyTest) -> Answer<PeopleTested> {
    let connections: Vec<_> = trial.view.connections.iter().map(|c| c.id.clone()).collect();
    let cursors = caller.cursors();
    let mut after: Option<UserId> = test
        .cursor
        .as_deref()
        .map(|text| cursors.read(&caller.org, text))
        .transpose()
        .map_err(|_| Fault::invalid("/cursor", "not a cursor of this test"))?;
    let mut outcomes: Vec<TestOutcome> = Vec::new();
    let mut by_decision: HashMap<(Reason, Option<String>), usize> = HashMap::new();
    let (mut allowed, mut refused, mut more) = (0, 0, true);
    let mut left = MOST;
    let store = caller.reports();
    while more && left > 0 {
        let page = Paging {
            limit: STEP,
            after: after.take(),
        };
        let mut people = store::user::people(&store, &caller.org, &connections, &page).await?;
        let step = left.min(STEP as usize);
        more = people.len() > step;
        people.truncate(step);
        left -= people.len();
        after = people.last().map(|person| person.user.id.clone());
        let ids: Vec<UserId> = people.iter().map(|person| person.user.id.clone()).collect();
        let held = match test.authentication {
            Some(_) => HashMap::new(),
            None => store::session::newest_authentications(&store, &ids).await?,
        };
        let unproven = Authentication::NONE;
        for (i, person) in people.iter().enumerate() {
            if i % AT_A_TIME == 0 {
                // Others get their turn.
                tokio::task::yield_now().await;
            }
            let stated = stated(test, person);
            let held = held.get(&person.user.id);
            let proof = stated.as_ref().or(held).unwrap_or(&unproven);
            let decision = trial.decide(Who::Person(person, proof));
            *(if decision.allowed {
                &mut allowed
            } else {
                &mut refused
            }) += 1;
            let key = (
                decision.reason,
                decision.rule.as_ref().map(|rule| rule.id.clone()),
            );
            let at = *by_decision.entry(key).or_insert_with(|| {
                outcomes.push(TestOutcome {
                    decision,
                    count: 0,
                    people: Vec::new(),
                });
                outcomes.len() - 1
            });
            let outcome = &mut outcomes[at];
            outcome.count += 1;
            if outcome.people.len() < NAMED {
                outcome.people.push(person_ref(person));
            }
        }
    }
    outcomes.sort_by_key(|outcome| std::cmp::Reverse(outcome.count));
    let next = after.filter(|_| more);
    Ok(PeopleTested {
        allowed,
        refused,
        outcomes,
        next: next.map(|id| cursors.write(&caller.org, wire::Id::as_str(&id))),
    })
}

/// Somebody in few words: all that is known, to be released.
pub(crate) fn person_ref(person: &Person) -> PersonRef {
    PersonRef {
        id: person.user.id.clone(),
        name: person.user.name.clone(),
        email: person.user.email.clone(),
    }
}

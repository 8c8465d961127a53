//! The role matrix: every operation of the router × every kind of principal. A route needs its line in
//! [`line`], its body in [`crate::roles::body`] and its identifier in [`crate::isolation::id_for`]; without
//! them these tests fail.

use crate::isolation::{id_for, operations};
use crate::roles::{body, statuses};
use crate::world::{World, account_token, mapped, on_each};
use http::{Method, StatusCode};
use wire::{Account, Role};

/// What an operation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Any role.
    Any,
    Read,
    Audit,
    Edit,
    Administer,
    /// To be an owner, or to be the person whose it is.
    Own,
}

/// What it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The caller, or a list of what the caller may see.
    Caller,
    /// The organisation: whoever has roles in accounts only may not.
    Organisation,
    /// Something of the organisation that does not exist for whoever has roles in accounts only.
    Hidden,
    /// Something of the organisation that the account Production may see.
    Shared,
    /// Something in the account Production.
    Account,
}

fn case(operation: &str) -> (Need, Place) {
    line(operation).unwrap_or_else(|| panic!("an operation without a case: {operation}"))
}

/// The line of an operation.
fn line(operation: &str) -> Option<(Need, Place)> {
    use Need::{Administer, Any, Audit, Edit, Own, Read};
    use Place::{Account, Caller, Hidden, Organisation, Shared};
    Some(match operation {
        "GET /session" | "GET /organisation" | "GET /overview" => (Any, Caller),
        "PATCH /organisation" => (Administer, Organisation),
        "GET /accounts" => (Any, Caller),
        "POST /accounts" => (Administer, Organisation),
        "GET /accounts/{id}" => (Read, Account),
        "PATCH /accounts/{id}" | "DELETE /accounts/{id}" => (Administer, Shared),
        "GET /members" => (Any, Caller),
        "POST /members" => (Administer, Organisation),
        "GET /members/{id}" => (Read, Hidden),
        "PATCH /members/{id}" | "DELETE /members/{id}" => (Own, Hidden),
        "GET /invitations" | "GET /role-mappings" => (Any, Caller),
        "POST /invitations" | "POST /role-mappings" => (Administer, Organisation),
        "GET /invitations/{id}" | "GET /role-mappings/{id}" => (Read, Account),
        "DELETE /invitations/{id}" | "POST /invitations/{id}/resend" => (Administer, Account),
        "PATCH /role-mappings/{id}" | "DELETE /role-mappings/{id}" => (Administer, Account),
        "GET /connections" | "GET /bindings" | "GET /users" => (Any, Caller),
        "POST /connections" | "POST /bindings" | "PATCH /bindings" => (Administer, Organisation),
        "GET /connection-presets" => (Any, Caller),
        "POST /connections/discover" => (Administer, Caller),
        "GET /connections/{id}" | "GET /users/{id}" | "GET /users/{id}/roles" => (Read, Shared),
        "GET /connections/{id}/health" | "GET /connections/{id}/trials" => (Read, Shared),
        "GET /connections/{id}/trials/{trial}" => (Read, Shared),
        "POST /connections/{id}/claims-preview" | "POST /connections/{id}/trials" => (Administer, Shared),
        "PATCH /connections/{id}" | "DELETE /connections/{id}" => (Administer, Shared),
        "PATCH /users/{id}" => (Administer, Shared),
        "GET /users/{id}/factors" => (Read, Hidden),
        "DELETE /users/{id}/factors/{factor}" => (Own, Hidden),
        "GET /bindings/{id}" => (Read, Account),
        "PATCH /bindings/{id}" | "DELETE /bindings/{id}" => (Administer, Shared),
        "GET /connection-migrations" => (Read, Organisation),
        "POST /connection-migrations" => (Administer, Organisation),
        "GET /connection-migrations/{id}" | "GET /connection-migrations/{id}/links" => (Read, Hidden),
        "POST /connection-migrations/{id}/links" => (Administer, Hidden),
        "POST /connection-migrations/{id}/links/approve-all" => (Administer, Hidden),
        "POST /connection-migrations/{id}/cut-over" => (Administer, Hidden),
        "POST /connection-migrations/{id}/roll-back" => (Administer, Hidden),
        "POST /connection-migrations/{id}/complete" => (Administer, Hidden),
        "GET /sessions" => (Read, Organisation),
        "DELETE /sessions/{id}" => (Administer, Organisation),
        "GET /groups" | "GET /policies" | "GET /apps" => (Any, Caller),
        "POST /groups" | "POST /policies" | "POST /apps" => (Edit, Account),
        "GET /groups/{id}" | "GET /policies/{id}" | "GET /apps/{id}" => (Read, Account),
        "GET /groups/{id}/members" | "GET /apps/{id}/policy-warnings" => (Read, Account),
        "PATCH /groups/{id}" | "PATCH /policies/{id}" | "PATCH /apps/{id}" => (Edit, Account),
        "DELETE /groups/{id}" | "DELETE /policies/{id}" | "DELETE /apps/{id}" => (Edit, Account),
        "GET /hosts" => (Any, Caller),
        "POST /hosts" => (Administer, Organisation),
        "GET /hosts/{id}" => (Read, Account),
        "PATCH /hosts/{id}" | "DELETE /hosts/{id}" => (Administer, Shared),
        "POST /policies/test" => (Read, Account),
        "GET /clients" | "GET /grants" | "GET /agent-attempts" => (Any, Caller),
        "GET /agent-attempts/{id}" => (Read, Account),
        "POST /agent-attempts/{id}/remedy" => (Edit, Account),
        "GET /known-agents" => (Any, Caller),
        "GET /agent-documents" => (Read, Organisation),
        "GET /agent-documents/{id}" => (Read, Hidden),
        "POST /agent-documents" => (Administer, Organisation),
        "PATCH /agent-documents/{id}" | "DELETE /agent-documents/{id}" => (Administer, Hidden),
        "POST /agent-documents/{id}/refresh" => (Administer, Hidden),
        "GET /clients/{id}" | "GET /grants/{id}" => (Read, Account),
        "POST /clients" | "PATCH /clients/{id}" | "DELETE /clients/{id}" => (Administer, Account),
        "DELETE /grants/{id}" => (Administer, Account),
        "GET /api-tokens" | "POST /api-tokens" => (Any, Caller),
        "GET /api-tokens/{id}" => (Read, Hidden),
        "PATCH /api-tokens/{id}" | "DELETE /api-tokens/{id}" => (Own, Hidden),
        "POST /api-tokens/{id}/roll" => (Own, Hidden),
        "GET /service-tokens" | "GET /webhooks" => (Any, Caller),
        "POST /service-tokens" | "POST /webhooks" => (Administer, Account),
        "GET /service-tokens/{id}" | "GET /webhooks/{id}" => (Read, Account),
        "PATCH /service-tokens/{id}" | "DELETE /service-tokens/{id}" => (Administer, Account),
        "POST /service-tokens/{id}/rotate" => (Administer, Account),
        "PATCH /webhooks/{id}" | "DELETE /webhooks/{id}" => (Administer, Account),
        "POST /webhooks/{id}/rotate-secret" | "POST /webhooks/{id}/test" => (Administer, Account),
        "POST /webhooks/{id}/deliveries/{delivery}/replay" => (Administer, Account),
        "GET /webhooks/{id}/deliveries" => (Audit, Account),
        "GET /webhooks/{id}/deliveries/{delivery}" => (Audit, Account),
        "GET /signing-keys" => (Read, Organisation),
        "POST /signing-keys/rotate" => (Administer, Organisation),
        "GET /audit" | "GET /audit/export" => (Audit, Caller),
        "GET /audit/{id}" => (Audit, Account),
        _ => return None,
    })
}

/// Whether a write, or a question that is posted, needs a proof of the last 15 minutes: `always`, `never`, or `by-change`.
pub(crate) fn proof(operation: &str) -> Option<&'static str> {
    let (verb, route) = operation.split_once(' ')?;
    Some(match (verb, route) {
        ("GET", _) => return None,
        // What is asked, and what may reach inside.
        ("POST", "/connections/{id}/claims-preview" | "/policies/test") => "never",
        ("POST", "/connections/discover") => "by-change",
        // What makes, tries or closes one thing and opens nothing.
        ("POST", "/accounts" | "/groups" | "/connections/{id}/trials" | "/webhooks/{id}/test") => "never",
        ("POST", "/webhooks/{id}/deliveries/{delivery}/replay") => "never",
        ("DELETE", "/invitations/{id}" | "/sessions/{id}" | "/grants/{id}") => "never",
        ("DELETE", "/groups/{id}" | "/policies/{id}" | "/api-tokens/{id}" | "/service-tokens/{id}") => {
            "never"
        }
        // What may only rename, or only close.
        ("PATCH", "/organisation" | "/accounts/{id}" | "/users/{id}" | "/connections/{id}") => "by-change",
        ("PATCH", "/groups/{id}" | "/policies/{id}" | "/apps/{id}" | "/clients/{id}") => "by-change",
        ("PATCH", "/api-tokens/{id}" | "/service-tokens/{id}" | "/webhooks/{id}") => "by-change",
        ("POST", "/policies" | "/agent-attempts/{id}/remedy") => "by-change",
        ("POST", "/connection-migrations/{id}/links") | ("DELETE", "/bindings/{id}" | "/clients/{id}") => {
            "by-change"
        }
        // What gives power, says who people are, opens ways in, shows secrets or goes out, or ends for all.
        (_, "/members" | "/members/{id}" | "/role-mappings" | "/role-mappings/{id}") => "always",
        ("POST", "/invitations" | "/invitations/{id}/resend" | "/connections" | "/apps" | "/clients") => {
            "always"
        }
        ("POST" | "PATCH", "/bindings" | "/bindings/{id}") => "always",
        ("DELETE", "/connections/{id}" | "/accounts/{id}" | "/apps/{id}" | "/webhooks/{id}") => "always",
        ("DELETE", "/users/{id}/factors/{factor}") | ("POST", "/signing-keys/rotate") => "always",
        (_, "/hosts" | "/hosts/{id}") => "always",
        (_, path) if path.starts_with("/agent-documents") => "always",
        ("POST", path) if path.starts_with("/connection-migrations") => "always",
        ("POST", "/service-tokens" | "/service-tokens/{id}/rotate") => "always",
        ("POST", "/api-tokens" | "/api-tokens/{id}/roll") => "always",
        ("POST", "/webhooks" | "/webhooks/{id}/rotate-secret") => "always",
        other => panic!("an operation without a proof: {other:?}"),
    })
}

/// Whether a role has what is needed, where it counts.
fn has(role: Role, need: Need) -> bool {
    match role {
        Role::OrgOwner => true,
        Role::OrgAdmin | Role::AccountAdmin => need != Need::Own,
        Role::OrgAuditor | Role::AccountAuditor => matches!(need, Need::Any | Need::Read | Need::Audit),
        Role::AccountEditor => matches!(need, Need::Any | Need::Read | Need::Edit),
    }
}

/// What the answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Yes,
    Forbidden,
    NotFound,
    /// What the body refers to does not exist for the caller.
    Invalid,
}

impl Verdict {
    fn fits(self, status: StatusCode) -> bool {
        match self {
            // What is in use, and the last owner, stay: the caller may, and cannot.
            Self::Yes => matches!(status.as_u16(), 200 | 201 | 409),
            Self::Forbidden => status == StatusCode::FORBIDDEN,
            Self::NotFound => status == StatusCode::NOT_FOUND,
            Self::Invalid => status == StatusCode::BAD_REQUEST,
        }
    }
}

/// What somebody with `role` must be told; `inside` says whether it is a role in Production, where everything
/// of the matrix lies, or in Labs, where nothing does.
fn expected(operation: &str, role: Role, inside: bool) -> Verdict {
    let (need, place) = case(operation);
    let named = operation.contains("{id}");
    let granted = |granted: bool| {
        match granted {
            // No provider answers in these tests.
            true if operation == "POST /connections/discover" => Verdict::Invalid,
            true => Verdict::Yes,
            false => Verdict::Forbidden,
        }
    };
    if !role.is_account_role() {
        return granted(has(role, need));
    }
    match place {
        Place::Caller => granted(has(role, need)),
        Place::Organisation => Verdict::Forbidden,
        Place::Hidden => Verdict::NotFound,
        Place::Shared | Place::Account if !inside && named => Verdict::NotFound,
        Place::Shared => granted(need == Need::Read),
        Place::Account if !inside => Verdict::Invalid,
        // Whoever may not read the log does not learn what is in it.
        Place::Account if operation == "GET /audit/{id}" && !has(role, need) => Verdict::NotFound,
        Place::Account => granted(has(role, need)),
    }
}

async fn compare(world: &World, who: &str, token: &str, expect: impl Fn(&str) -> Verdict) {
    for (operation, answer) in statuses(world, token).await {
        let verdict = expect(&operation);
        assert!(
            verdict.fits(answer.status),
            "{who}: {operation}: {} instead of {verdict:?}: {}",
            answer.status,
            answer.text
        );
    }
}

fn place(role: Role, account: &Account) -> Option<&Account> {
    role.is_account_role().then_some(account)
}

#[tokio::test]
async fn tn2_everybody_may_do_what_their_role_says_and_no_more() {
    on_each(async |world| {
        for role in Role::ALL {
            let (token, account) = match role {
                Role::OrgOwner => (world.acme.owner.token.clone(), None),
                role => {
                    let account = place(role, &world.acme.account);
                    (world.hire(role, account).await.token, account)
                }
            };
            let who = format!("{role:?} in {:?}", account.map(|a| &a.spec.name));
            compare(world, &who, &token, |o| expected(o, role, true)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn tn2_a_role_that_follows_from_a_group_is_worth_the_same() {
    on_each(async |world| {
        for role in Role::ALL.into_iter().filter(|r| *r != Role::OrgOwner) {
            let (_, token) = mapped(world, role, place(role, &world.acme.account)).await;
            let who = format!("{role:?} by a group");
            compare(world, &who, &token, |o| expected(o, role, true)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn tn2_a_token_of_an_account_may_do_what_its_role_says_and_no_more() {
    on_each(async |world| {
        for role in Role::ALL.into_iter().filter(|r| r.is_account_role()) {
            for (account, inside) in [(&world.acme.account, true), (&world.acme.labs, false)] {
                let token = account_token(world, role, account).await;
                let who = format!("a token with {role:?} in {}", account.spec.name);
                let expect = |operation: &str| match operation {
                    // It is nobody who could have a token of their own.
                    "POST /api-tokens" => Verdict::Invalid,
                    operation => expected(operation, role, inside),
                };
                compare(world, &who, &token, expect).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn tn1_every_id_of_an_account_without_a_role_is_404_on_every_verb() {
    on_each(async |world| {
        for role in Role::ALL.into_iter().filter(|r| r.is_account_role()) {
            let labs = Some(&world.acme.labs);
            let direct = world.hire(role, labs).await.token;
            // The connection counts in Production only, so that a group there gives nothing in Labs.
            let (_, by_group) = mapped(world, role, labs).await;
            for (operation, answer) in statuses(world, &by_group).await {
                assert_eq!(
                    answer.status,
                    StatusCode::FORBIDDEN,
                    "{operation}: {}",
                    answer.text
                );
            }
            let who = format!("{role:?} in Labs");
            compare(world, &who, &direct, |o| expected(o, role, false)).await;
        }
    })
    .await;
}

// That a route without its case fails the tests above:

#[test]
#[should_panic(expected = "an operation without a case: GET /invented/{id}")]
fn an_invented_route_has_no_line_in_the_matrix() {
    case("GET /invented/{id}");
}

#[tokio::test]
#[should_panic(expected = "a route without a case: /invented/{id}")]
async fn an_invented_route_has_no_identifier() {
    on_each(async |world| {
        id_for("/invented/{id}", &world.acme);
    })
    .await;
}

#[tokio::test]
#[should_panic(expected = "an operation without a case: (\"POST\", \"/invented\")")]
async fn an_invented_operation_has_no_body() {
    on_each(async |world| {
        body(&Method::POST, "/invented", world);
    })
    .await;
}

#[test]
#[should_panic(expected = "an operation without a proof: (\"POST\", \"/invented\")")]
fn an_invented_write_has_no_proof() {
    proof("POST /invented");
}

#[test]
fn every_write_declares_the_proof_that_it_needs() {
    let description = serde_json::to_value(control::openapi()).unwrap();
    for (method, route) in operations() {
        let at = format!(
            "/paths/~1api~1v1{}/{}/x-recent-proof",
            route.replace('/', "~1"),
            method.as_str().to_lowercase()
        );
        let declared = description.pointer(&at).and_then(|word| word.as_str());
        assert_eq!(declared, proof(&format!("{method} {route}")), "{method} {route}");
    }
}

#[test]
fn the_matrix_has_a_line_for_every_operation_of_the_router() {
    let all = operations().into_iter();
    let all = all.map(|(method, route)| format!("{method} {route}"));
    let missing: Vec<String> = all.filter(|operation| line(operation).is_none()).collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "operations without a line in `line`"
    );
}

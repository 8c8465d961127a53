//! What the API calls by the names of its members, in the words that stand beside the fields of the forms.

use leptos::prelude::*;

/// Pointers of members, without the numbers of entries, and the labels of their fields.
pub(crate) type Labels = &'static [(&'static str, &'static str)];

/// Labels that are the same in every form that has the field. What differs is named by the form itself.
const EVERYWHERE: Labels = &[
    ("/account", "Account"),
    ("/allow_internal", "Internal origins it may be reached at"),
    ("/allowed_domains", "Only these e-mail domains"),
    ("/allowed_ips", "Only from these addresses"),
    ("/allowed_origin_ranges", "Special networks that apps may lie in"),
    ("/app", "App"),
    ("/authentication", "Signed in by"),
    ("/bind_new_accounts", "Bind to accounts that are made later, too"),
    ("/browser_origins", "Agents in browsers"),
    ("/case_insensitive_paths", "The origin ignores case in paths"),
    ("/claims/email", "Claim with the e-mail address"),
    ("/claims/groups", "Claim with the groups"),
    (
        "/claims/groups_member",
        "Member that counts of groups that are objects",
    ),
    ("/claims/groups_separator", "Between groups that come as one text"),
    ("/claims/name", "Claim with the name"),
    ("/client", "Agent"),
    ("/client_id", "Client id"),
    ("/client_secret", "Client secret"),
    ("/connection", "Connection"),
    ("/decision", "Decision"),
    ("/domains", "E-mail domains that you own"),
    ("/email", "E-mail"),
    ("/email_verification", "E-mail addresses count as verified"),
    ("/events", "Events"),
    ("/exclude", "Exclude"),
    ("/expires_at", "Ends"),
    ("/extra_methods", "Further methods"),
    ("/floor", "Rules of the organisation"),
    ("/from", "From"),
    ("/github_organisations", "Only members of these organisations"),
    ("/group", "Group"),
    ("/identity_headers", "Plain identity headers"),
    ("/include", "Include"),
    ("/ip", "Address"),
    ("/issuer", "Issuer"),
    ("/kind", "Kind"),
    (
        "/logout/back_channel",
        "The provider may end sessions here (back-channel logout)",
    ),
    (
        "/logout/rp_initiated",
        "Signing out here signs out at the provider, too",
    ),
    ("/managed_oauth", "Managed OAuth"),
    ("/method", "Method"),
    ("/name", "Name"),
    ("/oauth/access_token_seconds", "Access token, in minutes"),
    ("/oauth/grant_seconds", "Grant, in days"),
    ("/oauth/openid", "OpenID Connect"),
    ("/oauth/registration/approval", "First use waits for approval"),
    ("/oauth/registration/dynamic", "Dynamic registration"),
    ("/oauth/registration/lowest_tier", "Lowest trust"),
    ("/oauth/registration/metadata_documents", "Metadata documents"),
    (
        "/oauth/registration/redirect_presets",
        "Redirect URIs of known agents",
    ),
    ("/oauth/registration/redirect_uris", "Further redirect URIs"),
    ("/oauth/rotation_seconds", "Lost answers, in seconds"),
    ("/oauth/scopes", "Scopes"),
    ("/oldest_proof/agents_seconds", "For agents, in days"),
    ("/oldest_proof/sessions_seconds", "For browser sessions, in days"),
    ("/origin_limits/answer_seconds", "Its answer, in seconds"),
    ("/origin_limits/event_seconds", "The next event, in seconds"),
    ("/origin_limits/idle_seconds", "The next part, in seconds"),
    ("/origin_url", "Origin URL"),
    ("/path", "Path"),
    ("/policies", "Policies"),
    ("/primary_connection", "Primary connection"),
    ("/public_url", "Public URL"),
    ("/redirect_uris", "Redirect URIs"),
    ("/require", "Require"),
    (
        "/require_second_factor",
        "People with a local password need a second factor",
    ),
    ("/required_claims", "Claims that must have a value"),
    ("/role", "Role"),
    ("/scopes", "Scopes"),
    ("/session_seconds", "Browser session, in hours"),
    ("/shared_with", "Other accounts that may publish there"),
    ("/to", "To"),
    ("/tool", "MCP tool"),
    ("/trusted_audiences", "Other clients its tokens may be meant for"),
    ("/url", "URL"),
    ("/user", "Person"),
];

/// Values that a choice shows in other words.
const VALUES: Labels = &[
    ("allowed", "Allowed"),
    ("always", "Always"),
    ("email_code", "Code by e-mail"),
    ("exclusive", "Exclusive"),
];

/// Pages beside the dashboard that the server names by their path.
const PAGES: Labels = &[("/me/security", "the page of your second factors")];

fn label(pointer: &str, own: Labels) -> Option<&'static str> {
    let all = own.iter().chain(EVERYWHERE);
    let found = all.into_iter().find(|(known, _)| *known == pointer);
    found.map(|(_, label)| *label)
}

/// The field that a pointer leads to, by its label, and which entry of it; in plain words where no form has it.
pub(crate) fn field(pointer: &str, own: Labels) -> String {
    let parts: Vec<&str> = pointer.split('/').skip(1).collect();
    let known = (1..=parts.len()).rev().find_map(|n| {
        let label = label(&format!("/{}", parts[..n].join("/")), own)?;
        Some((label, n))
    });
    let (first, rest) = match known {
        Some((label, n)) => (Some(label.to_owned()), &parts[n..]),
        None => (None, parts.as_slice()),
    };
    let rest = rest.iter().map(|part| match part.parse::<usize>() {
        Ok(index) => format!("entry {}", index + 1),
        Err(_) => part.replace("~1", "/").replace("~0", "~").replace('_', " "),
    });
    first.into_iter().chain(rest).collect::<Vec<_>>().join(", ")
}

/// What the server says, with labels in the place of the members that it names.
pub(crate) fn sentence(text: &str, own: Labels) -> String {
    let parts: Vec<&str> = text.split('`').collect();
    if parts.len().is_multiple_of(2) {
        return text.to_owned();
    }
    let worded = parts.iter().enumerate().map(|(i, part)| {
        if i.is_multiple_of(2) {
            return (*part).to_owned();
        }
        let value = || VALUES.iter().find(|(known, _)| known == part);
        let words = label(&format!("/{part}"), own).or_else(|| value().map(|(_, words)| *words));
        format!("“{}”", words.unwrap_or(part))
    });
    worded.collect()
}

/// A sentence in which paths of pages are links. In another tab: what was typed here stays.
pub(crate) fn linked(text: &str) -> AnyView {
    let found = PAGES
        .iter()
        .find_map(|(path, words)| Some((text.split_once(path)?, *path, *words)));
    match found {
        None => text.to_owned().into_any(),
        Some(((before, after), path, words)) => {
            let (before, after) = (before.to_owned(), after.to_owned());
            view! {
                {before}
                <a class="link" href=path rel="external noopener" target="_blank">{words}</a>
                {after}
            }
            .into_any()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBHOOK: Labels = &[("/allow_internal", "The receiver is on an internal address")];

    #[test]
    fn members_in_sentences_are_called_as_the_form_calls_them() {
        let text = "an internal address, where nothing is delivered without `allow_internal`";
        let wanted = "an internal address, where nothing is delivered without “The receiver is on an internal address”";
        assert_eq!(sentence(text, WEBHOOK), wanted);
        assert_eq!(
            sentence("https, or http to an origin that `allow_internal` names", &[]),
            "https, or http to an origin that “Internal origins it may be reached at” names"
        );
        assert_eq!(
            sentence("`always` needs `allowed_domains` or `required_claims`", &[]),
            "“Always” needs “Only these e-mail domains” or “Claims that must have a value”"
        );
        assert_eq!(
            sentence("an action such as `app.update`", &[]),
            "an action such as “app.update”"
        );
        assert_eq!(sentence("a lone ` stays", &[]), "a lone ` stays");
    }

    #[test]
    fn pointers_are_called_by_the_label_of_their_field() {
        assert_eq!(field("/account", &[]), "Account");
        assert_eq!(field("/account", &[("/account", "Owner")]), "Owner");
        assert_eq!(field("/oldest_proof/agents_seconds", &[]), "For agents, in days");
        assert_eq!(
            field("/oauth/scopes/0/description", &[]),
            "Scopes, entry 1, description"
        );
        assert_eq!(
            field("/client_secret_expires_at", &[]),
            "client secret expires at"
        );
        assert_eq!(field("", &[]), "");
    }
}

//! The description of the API, from the routes themselves. What all operations have in common (refusals,
//! `dry_run`, `If-Match`, names) is added here, so that no route can forget it.

use utoipa::openapi::{
    Components, Content, HttpMethod, Info, License, OpenApi, Ref, RefOr, Required, Response, Schema,
    extensions::Extensions,
    header::Header,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn, PathItem},
    schema::{
        AdditionalProperties, AllOf, ArrayItems, Object, ObjectBuilder, OneOfBuilder, SchemaType, Type,
    },
    security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    tag::TagBuilder,
};

use wire::{
    AccountId, ApiTokenId, AppId, BindingId, ClientId, ConnectionId, EventId, GrantId, GroupId, Id as _,
    KeyId, MemberId, OrgId, PolicyId, ServiceTokenId, SessionId, UserId, WebhookDeliveryId, WebhookId,
};

const MERGE_PATCH: &str = "application/merge-patch+json";

/// The description of `/api/v1` (OpenAPI 3.1).
#[must_use]
pub fn openapi() -> OpenApi {
    let mut api = utoipa_axum::router::OpenApiRouter::default()
        .nest("/api/v1", crate::resources())
        .into_openapi();
    let mut info = Info::new("Chatelaine", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "The admin API. Lists are pages with an opaque cursor; changes take `dry_run` and `If-Match`; \
         refusals are RFC 9457 problems; unknown members and parameters are refused."
            .to_owned(),
    );
    let mut license = License::new("Apache-2.0");
    license.identifier = Some("Apache-2.0".to_owned());
    info.license = Some(license);
    api.info = info;
    let tags = TAGS.iter().map(|(name, text)| {
        let tag = TagBuilder::new().name(*name);
        tag.description(Some(*text)).build()
    });
    api.tags = Some(tags.collect());
    let components = api.components.get_or_insert_with(Components::new);
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in operations(item) {
            complete(path, &method, operation, components);
        }
    }
    // Parameters name their types, but do not bring them along.
    components.schemas.extend(<(wire::Problem,)>::all());
    components.schemas.extend(<(wire::Preview,)>::all());
    components.schemas.extend(<(crate::audit::Direction,)>::all());
    components.schemas.extend(<(crate::audit::Format,)>::all());
    flatten(components);
    tidy(components);
    refusals(components);
    let key = ApiKeyValue::new("chatelaine_session");
    for (name, scheme) in [
        (
            "token",
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build()),
        ),
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(key))),
    ] {
        components.add_security_scheme(name, scheme);
    }
    let any = ["token", "session"].map(|name| SecurityRequirement::new(name, [] as [&str; 0]));
    api.security = Some(any.into());
    api
}

/// Every operation, such as `POST /apps`.
pub(crate) fn operation_names() -> std::collections::HashSet<String> {
    let mut api = crate::resources().into_openapi();
    let mut found = std::collections::HashSet::new();
    for (path, item) in &mut api.paths.paths {
        for (method, _) in operations(item) {
            found.insert(format!("{} {path}", verb(&method)));
        }
    }
    found
}

const fn verb(method: &HttpMethod) -> &'static str {
    match method {
        HttpMethod::Post => "POST",
        HttpMethod::Patch => "PATCH",
        HttpMethod::Delete => "DELETE",
        _ => "GET",
    }
}

/// As served at `/openapi.json` and kept in `docs/openapi.json`.
pub(crate) fn text() -> String {
    openapi().to_pretty_json().unwrap_or_default() + "\n"
}

const TAGS: &[(&str, &str)] = &[
    ("session", "Who calls"),
    ("organisation", "The company"),
    ("accounts", "Its tenants"),
    ("members", "Roles of people"),
    ("invitations", "Links that give a role"),
    (
        "role-mappings",
        "Roles that follow from groups of an identity provider",
    ),
    ("connections", "Upstream identity providers"),
    ("bindings", "Connections made available to accounts"),
    (
        "connection-migrations",
        "From one identity provider to another, with explicit links",
    ),
    ("users", "People"),
    ("sessions", "Browser sessions"),
    ("groups", "Groups of people"),
    ("policies", "Reusable rules, and their tester"),
    ("apps", "What the gateway protects"),
    ("hosts", "Whose public hosts are"),
    ("clients", "Agent software"),
    ("grants", "What people allowed agents"),
    ("agent-attempts", "How agents got in, or where they got stuck"),
    ("api-tokens", "Credentials for automation"),
    ("service-tokens", "Credentials with which machines come to apps"),
    ("webhooks", "Where events of the log are sent"),
    ("signing-keys", "Keys that sign tokens and assertions"),
    ("audit", "The log"),
    ("overview", "Numbers of the last 24 hours"),
];

/// Types named here are described although no operation names them.
trait All {
    fn all() -> Vec<(String, RefOr<Schema>)>;
}

impl<T: utoipa::ToSchema> All for (T,) {
    fn all() -> Vec<(String, RefOr<Schema>)> {
        let mut found = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut found);
        found
    }
}

fn operations(item: &mut PathItem) -> Vec<(HttpMethod, &mut Operation)> {
    let found = [
        (HttpMethod::Get, item.get.as_mut()),
        (HttpMethod::Post, item.post.as_mut()),
        (HttpMethod::Patch, item.patch.as_mut()),
        (HttpMethod::Delete, item.delete.as_mut()),
    ];
    let found = found.into_iter();
    found
        .filter_map(|(method, operation)| operation.map(|operation| (method, operation)))
        .collect()
}

/// Adds what all operations of the kind have.
fn complete(path: &str, method: &HttpMethod, operation: &mut Operation, components: &mut Components) {
    let tag = operation
        .tags
        .iter()
        .flatten()
        .next()
        .cloned()
        .unwrap_or_default();
    let name = operation.operation_id.take().unwrap_or_default();
    operation.operation_id = Some(format!("{}_{name}", tag.replace('-', "_")));
    let is_question = crate::QUESTIONS.contains(&path.trim_start_matches("/api/v1"));
    let is_write = !matches!(method, HttpMethod::Get) && !is_question;
    // A remedy is a change of the app or client that it names.
    let is_change = matches!(method, HttpMethod::Patch | HttpMethod::Delete) || path.ends_with("/remedy");
    let mut parameters = Vec::new();
    for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
        let name = name.trim_end_matches('}');
        parameters.push(parameter(name, ParameterIn::Path, "Its identifier", Type::String));
    }
    if is_write {
        let text = "Only say what would change, and who would gain or lose access";
        parameters.push(parameter("dry_run", ParameterIn::Query, text, Type::Boolean));
        preview(method, operation);
    }
    let operation_name = format!("{} {}", verb(method), path.trim_start_matches("/api/v1"));
    if let Some(proof) = crate::power::proof_of(&operation_name) {
        let word = Extensions::builder().add("x-recent-proof", proof.word()).build();
        operation.extensions = Some(word);
    }
    if is_write && matches!(method, HttpMethod::Post) {
        let text = "Names the attempt: a repeated request with the same key is answered as the first one was, \
                    for 24 hours";
        let key = ParameterBuilder::from(parameter(
            "Idempotency-Key",
            ParameterIn::Header,
            text,
            Type::String,
        ));
        let bounded = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(255))
            .pattern(Some("^[\\x20-\\x7e]+$"));
        parameters.push(key.schema(Some(bounded)).build());
    }
    if is_change {
        let text = "`ETag` of the version to change; if it is another one by now, the answer is 412";
        parameters.push(parameter("If-Match", ParameterIn::Header, text, Type::String));
    }
    operation
        .parameters
        .get_or_insert_default()
        .extend(parameters.into_iter().map(RefOr::T));
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.required = Some(Required::True);
        if let Some(RefOr::T(content)) = body.content.get_mut(MERGE_PATCH) {
            as_patch(content, components);
            let same = content.clone();
            body.content.insert("application/json".to_owned(), RefOr::T(same));
        }
    }
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            describe(status, response, is_write);
        }
    }
    let has_body = operation.request_body.is_some();
    let refusals = REFUSALS.iter().filter(|(_, _, _, kind)| match kind {
        Of::Every => true,
        Of::Body => has_body,
        Of::Write => is_write,
        Of::Creation => is_write && matches!(method, HttpMethod::Post),
        Of::Change => is_change,
        Of::Guarded => is_write && path == "/api/v1/organisation",
        Of::Secret => matches!(method, HttpMethod::Patch) && path == "/api/v1/connections/{id}",
    });
    for (status, name, _, _) in refusals {
        let to = RefOr::Ref(Ref::from_response_name(*name));
        operation.responses.responses.insert((*status).to_owned(), to);
    }
}

/// What a dry run answers, beside or instead of what the operation says itself.
fn preview(method: &HttpMethod, operation: &mut Operation) {
    let preview: RefOr<Schema> = Ref::from_schema_name("Preview").into();
    let responses = &mut operation.responses.responses;
    let own = match responses.get("200") {
        // Where the change is answered by another status, 200 is the dry run.
        Some(RefOr::T(response)) if !responses.contains_key("201") && !responses.contains_key("204") => {
            let content = response.content.get("application/json");
            content.and_then(|content| match content {
                RefOr::T(content) => content.schema.clone(),
                RefOr::Ref(_) => None,
            })
        }
        _ => None,
    };
    debug_assert!(own.is_some() || !matches!(method, HttpMethod::Patch));
    let schema = match own {
        Some(own) => RefOr::T(Schema::OneOf(OneOfBuilder::new().item(own).item(preview).build())),
        None => preview,
    };
    let mut response = Response::new("");
    response.content.insert(
        "application/json".to_owned(),
        RefOr::T(Content::new(Some(schema))),
    );
    responses.insert("200".to_owned(), RefOr::T(response));
}

/// The refusals, each once.
fn refusals(components: &mut Components) {
    for (status, name, text, _) in REFUSALS {
        let mut response = Response::new(text);
        let content = Content::new(Some(Ref::from_schema_name("Problem")));
        response
            .content
            .insert("application/problem+json".to_owned(), RefOr::T(content));
        if matches!(status, "429" | "503") {
            let header = Header::new(ObjectBuilder::new().schema_type(Type::Integer).build());
            response
                .headers
                .insert("Retry-After".to_owned(), RefOr::T(header));
        }
        components.responses.insert(name.to_owned(), RefOr::T(response));
    }
}

/// Pages name what they hold, and identifiers say what they look like.
fn tidy(components: &mut Components) {
    for (name, schema) in &mut components.schemas {
        let RefOr::T(Schema::Object(object)) = schema else {
            continue;
        };
        if let Some(held) = name.strip_prefix("Page_")
            && let Some(RefOr::T(Schema::Array(array))) = object.properties.get_mut("items")
        {
            array.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(held).into()));
        }
        if name == "AuditChange" {
            // An object, or `null` for what did not exist.
            let any = || RefOr::T(Schema::Object(Object::with_type(SchemaType::AnyValue)));
            object.properties.values_mut().for_each(|side| *side = any());
        }
        if let Some((_, prefix)) = IDS.iter().find(|(id, _)| id == name) {
            object.pattern = Some(format!("^{prefix}_[0-9a-f]{{32}}$"));
        }
    }
}

const IDS: &[(&str, &str)] = &[
    ("AccountId", AccountId::PREFIX),
    ("ApiTokenId", ApiTokenId::PREFIX),
    ("AppId", AppId::PREFIX),
    ("BindingId", BindingId::PREFIX),
    ("ClientId", ClientId::PREFIX),
    ("ConnectionId", ConnectionId::PREFIX),
    ("EventId", EventId::PREFIX),
    ("GrantId", GrantId::PREFIX),
    ("GroupId", GroupId::PREFIX),
    ("KeyId", KeyId::PREFIX),
    ("InvitationId", wire::InvitationId::PREFIX),
    ("MemberId", MemberId::PREFIX),
    ("OrgId", OrgId::PREFIX),
    ("PolicyId", PolicyId::PREFIX),
    ("RoleMappingId", wire::RoleMappingId::PREFIX),
    ("ServiceTokenId", ServiceTokenId::PREFIX),
    ("SessionId", SessionId::PREFIX),
    ("TrialId", wire::TrialId::PREFIX),
    ("UserId", UserId::PREFIX),
    ("WebhookDeliveryId", WebhookDeliveryId::PREFIX),
    ("WebhookId", WebhookId::PREFIX),
];

enum Of {
    Every,
    Body,
    Write,
    Creation,
    Change,
    /// Where a blind write is not taken.
    Guarded,
    /// Where a stored secret could be sent elsewhere.
    Secret,
}

const REFUSALS: [(&str, &str, &str, Of); 14] = [
    (
        "400",
        "Invalid",
        "The request cannot be read, or a value is not acceptable",
        Of::Every,
    ),
    ("401", "Unauthenticated", "No valid credential", Of::Every),
    ("403", "Forbidden", "The caller may not do this", Of::Every),
    (
        "404",
        "NotFound",
        "No such thing, or none that the caller may know of",
        Of::Every,
    ),
    (
        "409",
        "Conflict",
        "It does not go together with what is there",
        Of::Write,
    ),
    (
        "412",
        "Stale",
        "It was changed since the version in `If-Match`",
        Of::Change,
    ),
    ("413", "TooLarge", "The body is larger than 256 KiB", Of::Body),
    ("415", "UnsupportedMediaType", "The body is not JSON", Of::Body),
    (
        "422",
        "IdempotencyKeyReused",
        "The `Idempotency-Key` belongs to another request",
        Of::Creation,
    ),
    (
        "422",
        "SecretRequired",
        "The change would send the stored secret to somebody else: give the one that belongs there",
        Of::Secret,
    ),
    (
        "428",
        "PreconditionRequired",
        "`If-Match` must say which version is to be changed",
        Of::Guarded,
    ),
    ("429", "TooManyRequests", "Too many requests", Of::Every),
    ("500", "Internal", "Something went wrong on the server", Of::Every),
    ("503", "Unavailable", "The database does not answer", Of::Every),
];

fn parameter(name: &str, place: ParameterIn, text: &str, kind: Type) -> Parameter {
    let required = if matches!(place, ParameterIn::Path) {
        Required::True
    } else {
        Required::False
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(text))
        .schema(Some(ObjectBuilder::new().schema_type(kind)))
        .build()
}

fn describe(status: &str, response: &mut Response, is_write: bool) {
    let dry = is_write && status == "200" && response.description.is_empty();
    let text = match status {
        "201" => "Made",
        "204" => "Gone",
        _ if dry => "Done, or what a dry run would have done",
        _ => "The answer",
    };
    text.clone_into(&mut response.description);
    let string = || {
        RefOr::T(Header::new(
            ObjectBuilder::new().schema_type(Type::String).build(),
        ))
    };
    if is_write && status == "200" {
        response.headers.insert("Chatelaine-Dry-Run".to_owned(), string());
    }
}

/// A merge patch names only what changes: the same members, none of them required.
fn as_patch(content: &mut Content, components: &mut Components) {
    let Some(RefOr::Ref(to)) = &mut content.schema else {
        return;
    };
    let Some(name) = to.ref_location.rsplit('/').next().map(ToOwned::to_owned) else {
        return;
    };
    let patch = format!("{name}Patch");
    if let Some(RefOr::T(Schema::Object(spec))) = components.schemas.get(&name) {
        let mut object = spec.clone();
        object.required.clear();
        object.description = Some(format!("RFC 7396 merge patch of `{name}`"));
        components
            .schemas
            .insert(patch.clone(), RefOr::T(Schema::Object(object)));
    }
    *to = Ref::from_schema_name(patch);
}

/// A resource is its spec and more members side by side. `allOf` cannot say that where the spec refuses
/// unknown members, so both are put into one object.
fn flatten(components: &mut Components) {
    let before = components.schemas.clone();
    for (name, schema) in &mut components.schemas {
        let RefOr::T(Schema::AllOf(all)) = schema else {
            continue;
        };
        let mut whole = Object::with_type(Type::Object);
        whole.description.clone_from(&all.description);
        gather(all, &before, &mut whole);
        if name.starts_with("New") {
            whole.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
        *schema = RefOr::T(Schema::Object(whole));
    }
}

fn gather(all: &AllOf, known: &std::collections::BTreeMap<String, RefOr<Schema>>, whole: &mut Object) {
    for item in &all.items {
        let item = match item {
            RefOr::Ref(to) => to
                .ref_location
                .rsplit('/')
                .next()
                .and_then(|name| known.get(name)),
            RefOr::T(_) => Some(item),
        };
        match item {
            Some(RefOr::T(Schema::Object(part))) => {
                whole.properties.extend(part.properties.clone());
                whole.required.extend(part.required.clone());
            }
            Some(RefOr::T(Schema::AllOf(inner))) => gather(inner, known, whole),
            _ => {}
        }
    }
}

//! The API's documentation for people, at `/docs/api` and `/problems`: made from the description of the
//! routes when the server starts. It needs no script and nothing from elsewhere.

use crate::fault::{Kind, PROBLEMS};
use askama::Template;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use broker::page::{Forms, error_page, html};
use http::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use wire::AuditRequest;

/// The pages. `control_url` has no trailing slash.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(control_url: &str) -> Router<S> {
    let description = serde_json::to_value(crate::openapi()).unwrap_or_default();
    let reference = Arc::new(Reference::of(&description, control_url));
    Router::new()
        .route(
            "/docs/api",
            get(async move || html(StatusCode::OK, reference.as_ref(), Forms::Here)),
        )
        .route("/problems", get(async || problems("Problems", |_| true)))
        .route("/problems/{slug}", get(problem))
}

#[derive(Template)]
#[template(path = "reference.html")]
struct Reference {
    about: Prose,
    control_url: String,
    tags: Vec<Tag>,
    types: Vec<Type>,
}

struct Tag {
    name: String,
    text: Prose,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: String,
    path: String,
    summary: Prose,
    text: Prose,
    example: String,
    parameters: Vec<Field>,
    body: Option<Shape>,
    answers: Vec<Reply>,
}

struct Reply {
    status: String,
    text: Prose,
    shape: Option<Shape>,
}

/// A type in words, and the anchor of where it is explained.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shape {
    text: String,
    link: String,
}

struct Field {
    name: String,
    required: bool,
    shape: Shape,
    text: Prose,
}

struct Type {
    name: String,
    text: Prose,
    /// Of an object.
    fields: Vec<Field>,
    /// Of anything else.
    shape: Shape,
    /// Of a choice.
    variants: Vec<Variant>,
}

struct Variant {
    text: Prose,
    shape: Shape,
    fields: Vec<Field>,
}

const METHODS: [&str; 4] = ["get", "post", "patch", "delete"];

impl Reference {
    fn of(description: &Value, control_url: &str) -> Self {
        let mut tags: Vec<Tag> = Vec::new();
        for tag in list(&description["tags"]) {
            tags.push(Tag {
                name: text(&tag["name"]),
                text: Prose::of(&tag["description"]),
                operations: Vec::new(),
            });
        }
        for (path, item) in members(&description["paths"]) {
            for method in METHODS {
                let operation = &item[method];
                let tag = text(&operation["tags"][0]);
                if let Some(tag) = tags.iter_mut().find(|t| t.name == tag) {
                    let found = Operation::of((method, path), operation, description, control_url);
                    tag.operations.push(found);
                }
            }
        }
        let types = members(&description["components"]["schemas"]);
        Self {
            about: Prose::of(&description["info"]["description"]),
            control_url: control_url.to_owned(),
            tags,
            types: types.map(|(name, schema)| Type::of(name, schema)).collect(),
        }
    }
}

impl Operation {
    fn of((method, path): (&str, &str), operation: &Value, whole: &Value, control_url: &str) -> Self {
        let parameters = list(&operation["parameters"]).map(|parameter| Field {
            name: text(&parameter["name"]),
            required: parameter["required"] == true,
            shape: Shape::of(&parameter["schema"]),
            text: Prose::of(&parameter["description"]),
        });
        let body = &operation["requestBody"]["content"];
        let answers = members(&operation["responses"]).map(|(status, answer)| {
            let answer = resolve(answer, whole);
            Reply {
                status: status.to_owned(),
                text: Prose::of(&answer["description"]),
                shape: schema_of(&answer["content"]).map(Shape::of),
            }
        });
        Self {
            id: text(&operation["operationId"]),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: Prose::of(&operation["summary"]),
            text: Prose::of(&operation["description"]),
            example: example(method, &format!("{control_url}{path}"), !body.is_null()),
            parameters: parameters.collect(),
            body: schema_of(body).map(Shape::of),
            answers: answers.collect(),
        }
    }
}

/// How to call it from a shell.
fn example(method: &str, url: &str, has_body: bool) -> String {
    let verb = if method == "get" {
        String::new()
    } else {
        format!(" -X {}", method.to_uppercase())
    };
    let body = if has_body {
        " \\\n  -H 'Content-Type: application/json' -d @body.json"
    } else {
        ""
    };
    format!("curl{verb} '{url}' \\\n  -H \"Authorization: Bearer $CHATELAINE_TOKEN\"{body}")
}

impl Type {
    fn of(name: &str, schema: &Value) -> Self {
        let choice = ["oneOf", "anyOf"].iter().find_map(|key| schema[*key].as_array());
        let variants = choice.into_iter().flatten().map(|schema| Variant {
            text: Prose::of(&schema["description"]),
            fields: fields(schema),
            shape: if schema["properties"].is_object() {
                named(schema)
            } else {
                Shape::of(schema)
            },
        });
        let is_object = schema["properties"].is_object();
        Self {
            name: name.to_owned(),
            text: Prose::of(&schema["description"]),
            fields: fields(schema),
            shape: if is_object || choice.is_some() {
                Shape::default()
            } else {
                Shape::of(schema)
            },
            variants: variants.collect(),
        }
    }
}

/// A variant by the constants that tell it from the others, such as `type: "email"`.
fn named(schema: &Value) -> Shape {
    let constants = members(&schema["properties"]).filter_map(|(name, property)| {
        let only = property["enum"].as_array().filter(|all| all.len() == 1);
        only.map(|all| format!("{name}: {}", all[0]))
    });
    let text: Vec<_> = constants.collect();
    Shape {
        text: if text.is_empty() {
            "object".to_owned()
        } else {
            text.join(", ")
        },
        link: String::new(),
    }
}

fn fields(schema: &Value) -> Vec<Field> {
    let required = &schema["required"];
    let fields = members(&schema["properties"]).map(|(name, property)| Field {
        name: name.to_owned(),
        required: list(required).any(|r| r == name),
        shape: Shape::of(property),
        text: described(property),
    });
    fields.collect()
}

/// What a property means; where it is one of several, the choice says so.
fn described(property: &Value) -> Prose {
    let choice = list(&property["oneOf"]).chain(list(&property["allOf"]));
    let mut texts = std::iter::once(property).chain(choice).map(|p| &p["description"]);
    Prose::of(texts.find(|text| text.is_string()).unwrap_or(&Value::Null))
}

/// A sentence of the description, with code between backticks.
struct Prose(String);

struct Piece<'a> {
    is_code: bool,
    text: &'a str,
}

impl Prose {
    fn of(value: &Value) -> Self {
        // Links of the source's documentation lead nowhere here.
        let text = text(value).replace("[`", "`").replace("`]", "`");
        Self(text.replace("crate::", ""))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        let pieces = self.0.split('`').enumerate();
        pieces.map(|(i, text)| Piece {
            is_code: i % 2 == 1,
            text,
        })
    }
}

impl Shape {
    fn of(schema: &Value) -> Self {
        if let Some(to) = schema["$ref"].as_str() {
            let name = to.rsplit('/').next().unwrap_or_default();
            return Self {
                text: name.to_owned(),
                link: format!("type-{name}"),
            };
        }
        if let Some(choice) = ["oneOf", "anyOf", "allOf"]
            .iter()
            .find_map(|key| schema[*key].as_array())
        {
            let shapes: Vec<_> = choice.iter().map(Self::of).collect();
            let link = shapes.iter().find(|s| !s.link.is_empty());
            return Self {
                link: link.map_or_else(String::new, |s| s.link.clone()),
                text: join(shapes.iter().map(|s| s.text.as_str())),
            };
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values.iter().map(ToString::to_string).collect();
            return Self {
                text: values.join(" | "),
                link: String::new(),
            };
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => join(kinds.iter().filter_map(Value::as_str)),
            Value::String(kind) => kind.clone(),
            _ => "any".to_owned(),
        };
        if schema["items"].is_object() {
            let of = Self::of(&schema["items"]);
            return Self {
                text: format!("{} of {}", kinds.replace("array", "list"), of.text),
                link: of.link,
            };
        }
        let bounds = [("minimum", "≥"), ("maximum", "≤")];
        let bounds = bounds.map(|(key, sign)| match &schema[key] {
            Value::Null => String::new(),
            bound => format!(" {sign} {bound}"),
        });
        Self {
            text: format!("{kinds}{}{}", bounds[0], bounds[1]),
            link: String::new(),
        }
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(" or ")
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| (k.as_str(), v))
}

fn resolve<'a>(value: &'a Value, whole: &'a Value) -> &'a Value {
    let to = value["$ref"].as_str().map(|to| to.trim_start_matches('#'));
    to.and_then(|to| whole.pointer(to)).unwrap_or(value)
}

fn schema_of(content: &Value) -> Option<&Value> {
    members(content).map(|(_, media)| &media["schema"]).next()
}

#[derive(Template)]
#[template(path = "problems.html")]
struct Problems {
    title: &'static str,
    problems: Vec<Entry>,
}

struct Entry {
    slug: &'static str,
    status: u16,
    title: &'static str,
    advice: &'static str,
}

fn problems(title: &'static str, wanted: impl Fn(&str) -> bool) -> Response {
    let entry = |kind: Kind| {
        let (status, slug, title) = kind.parts();
        Entry {
            slug,
            status: status.as_u16(),
            title,
            advice: kind.advice(),
        }
    };
    let problems = PROBLEMS.into_iter().map(entry).filter(|entry| wanted(entry.slug));
    let page = Problems {
        title,
        problems: problems.collect(),
    };
    html(StatusCode::OK, &page, Forms::Here)
}

async fn problem(Path(slug): Path<String>, context: Option<axum::Extension<AuditRequest>>) -> Response {
    let found = PROBLEMS.into_iter().map(Kind::parts).find(|(_, s, _)| *s == slug);
    match found {
        Some((_, _, title)) => problems(title, |s| s == slug),
        None => {
            let id = context.map(|c| c.0.id).unwrap_or_default();
            let text = "The API knows no problem of this name.";
            error_page(StatusCode::NOT_FOUND, "Not found", text, &id)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_described_is_on_the_page() {
        let description = serde_json::to_value(crate::openapi()).unwrap();
        let page = Reference::of(&description, "https://id.example.com")
            .render()
            .unwrap();
        for (path, item) in members(&description["paths"]) {
            for (method, operation) in members(item).filter(|(m, _)| METHODS.contains(m)) {
                let id = format!("id=\"{}\"", text(&operation["operationId"]));
                assert!(page.contains(&id), "{method} {path} is missing");
            }
        }
        for (name, _) in members(&description["components"]["schemas"]) {
            assert!(page.contains(&format!("id=\"type-{name}\"")), "{name} is missing");
        }
        // Every link on the page leads to something on the page.
        for link in page.split("href=\"#").skip(1) {
            let to = link.split('"').next().unwrap();
            assert!(page.contains(&format!("id=\"{to}\"")), "#{to} leads nowhere");
        }
        assert!(!page.contains("<script") && !page.contains("https://cdn"));
    }

    #[test]
    fn shapes_are_told_in_words() {
        let shape = |json: Value| Shape::of(&json).text;
        assert_eq!(
            shape(serde_json::json!({"type": ["string", "null"]})),
            "string or null"
        );
        assert_eq!(
            shape(serde_json::json!({"type": "integer", "minimum": 1, "maximum": 200})),
            "integer ≥ 1 ≤ 200"
        );
        let list = serde_json::json!({"type": "array", "items": {"$ref": "#/components/schemas/App"}});
        assert_eq!(
            Shape::of(&list),
            Shape {
                text: "list of App".into(),
                link: "type-App".into()
            }
        );
    }
}

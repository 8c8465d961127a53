//! What comes in: identifiers in paths, queries, bodies, cursors. Anything unknown is refused, never
//! dropped.

use crate::fault::{Answer, Fault, Kind};
use crate::{Control, json_pointer};
use aws_lc_rs::hmac;
use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequest, Path, Request};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Method, header, request::Parts};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use store::Paging;
use wire::{OrgId, Page};

/// Bytes of a request body at the most.
pub(crate) const BODY_LIMIT: usize = 256 * 1024;

/// `{id}` of the path. Text that is no identifier is one that does not exist.
pub(crate) struct Id<T>(pub T);

impl<T: wire::Id> FromRequestParts<Control> for Id<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Answer<Self> {
        let Path(text) = Path::<String>::from_request_parts(parts, control)
            .await
            .map_err(|_| Fault::not_found())?;
        text.parse().map(Self).map_err(|_| Fault::not_found())
    }
}

/// Two identifiers of the path, the second of a thing that belongs to the first.
pub(crate) struct Ids<A, B>(pub A, pub B);

impl<A: wire::Id, B: wire::Id> FromRequestParts<Control> for Ids<A, B> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Answer<Self> {
        let Path((first, second)) = Path::<(String, String)>::from_request_parts(parts, control)
            .await
            .map_err(|_| Fault::not_found())?;
        match (first.parse(), second.parse()) {
            (Ok(first), Ok(second)) => Ok(Self(first, second)),
            _ => Err(Fault::not_found()),
        }
    }
}

/// The query, of which every parameter must be known.
pub(crate) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Control> for Query<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Control) -> Answer<Self> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(text.as_bytes());
        let read = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        read.map(Self).map_err(|error| {
            let at = error.path().to_string();
            let detail = error.into_inner().to_string();
            // An unknown or repeated name is not on the path, but in the message.
            let name = ["unknown field `", "duplicate field `"]
                .iter()
                .find_map(|start| detail.strip_prefix(start)?.split('`').next());
            let name = name.map_or(at, ToOwned::to_owned);
            Fault::invalid(format!("?{name}"), detail)
        })
    }
}

/// `?limit=&cursor=` where a list has no filters.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// `?account=&limit=&cursor=`.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccountQuery {
    /// Only of this account.
    pub(crate) account: Option<wire::AccountId>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// `?account=&q=&limit=&cursor=`.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedQuery {
    /// Only of this account.
    pub(crate) account: Option<wire::AccountId>,
    /// Text that occurs in the name.
    pub(crate) q: Option<String>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// `?q=&limit=&cursor=`.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SearchQuery {
    /// Text that occurs in the name.
    pub(crate) q: Option<String>,
    /// Items on a page, 1 to 200; 50 if absent.
    #[param(minimum = 1, maximum = 200)]
    pub(crate) limit: Option<u32>,
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// Items on a page.
pub(crate) fn limit(given: Option<u32>) -> Answer<u32> {
    match given.unwrap_or(50) {
        limit @ 1..=200 => Ok(limit),
        _ => Err(Fault::invalid("?limit", "from 1 to 200")),
    }
}

/// Makes and reads cursors: the last item's identifier under a MAC, so that no other can be given.
pub(crate) struct Cursors {
    key: hmac::Key,
}

const TAG: usize = 12;

impl Cursors {
    pub(crate) fn new(vault: &store::Vault) -> Self {
        Self {
            key: vault.mac_key("cursor"),
        }
    }

    fn tag(&self, org: &OrgId, text: &str) -> Vec<u8> {
        let tag = hmac::sign(&self.key, format!("{org} {text}").as_bytes());
        tag.as_ref()[..TAG].to_vec()
    }

    pub(crate) fn write(&self, org: &OrgId, text: &str) -> String {
        let mut bytes = self.tag(org, text);
        bytes.extend_from_slice(text.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(crate) fn read<T: std::str::FromStr>(&self, org: &OrgId, cursor: &str) -> Answer<T> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
            let (tag, text) = bytes.split_at_checked(TAG)?;
            let text = std::str::from_utf8(text).ok()?;
            (self.tag(org, text) == tag).then(|| text.parse().ok())?
        };
        read().ok_or_else(|| Fault::invalid("?cursor", "not a cursor of this list"))
    }

    /// Which part of a list is asked for.
    pub(crate) fn paging<T: wire::Id>(
        &self,
        org: &OrgId,
        given: Option<u32>,
        cursor: Option<&str>,
    ) -> Answer<Paging<T>> {
        Ok(Paging {
            limit: limit(given)?,
            after: cursor.map(|c| self.read(org, c)).transpose()?,
        })
    }

    /// The page of a list that was read one item further than asked for.
    pub(crate) fn page<T, I: wire::Id>(
        &self,
        org: &OrgId,
        mut items: Vec<T>,
        limit: u32,
        id: impl Fn(&T) -> &I,
    ) -> Page<T> {
        let limit = limit as usize;
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().filter(|_| more);
        Page {
            next: last.map(|item| self.write(org, id(item).as_str())),
            items,
        }
    }
}

/// A JSON body.
pub(crate) struct Body(pub Value);

impl FromRequest<Control> for Body {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &Control) -> Answer<Self> {
        let essence = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .map(|v| v.split(';').next().unwrap_or(v).trim().to_ascii_lowercase());
        let patch = request.method() == Method::PATCH;
        match essence.as_deref() {
            Some("application/json") => {}
            Some("application/merge-patch+json") if patch => {}
            _ => {
                return Err(Fault::new(Kind::UnsupportedMediaType, "send application/json"));
            }
        }
        let too_large = || Fault::new(Kind::TooLarge, format!("at most {BODY_LIMIT} bytes"));
        if request.body().size_hint().lower() > BODY_LIMIT as u64 {
            return Err(too_large());
        }
        let bytes = axum::body::to_bytes(request.into_body(), BODY_LIMIT)
            .await
            .map_err(|_| too_large())?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Fault::new(Kind::Malformed, format!("not JSON: {error}")))
    }
}

impl Body {
    /// The body as a type that refuses unknown members.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Answer<T> {
        if !self.0.is_object() {
            // A list would be taken for the members in their order.
            return Err(Fault::invalid("", "an object"));
        }
        read(self.0)
    }

    /// Takes one member out of the body: `POST` bodies are a spec and what it belongs to.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, member: &str) -> Answer<Option<T>> {
        let taken = self.0.as_object_mut().and_then(|o| o.remove(member));
        match taken {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| Fault::invalid(format!("/{member}"), error.to_string())),
        }
    }

    /// As [`Body::take`], for a member that must be there.
    pub(crate) fn need<T: DeserializeOwned>(&mut self, member: &str) -> Answer<T> {
        self.take(member)?
            .ok_or_else(|| Fault::invalid(format!("/{member}"), "missing"))
    }

    /// What `current` becomes by this merge patch (RFC 7396).
    pub(crate) fn merge<T: Serialize + DeserializeOwned>(self, current: &T) -> Answer<T> {
        let Value::Object(patch) = self.0 else {
            return Err(Fault::invalid("", "a merge patch is an object"));
        };
        let mut target = serde_json::to_value(current).map_err(store::Error::internal)?;
        if let Value::Object(target) = &mut target {
            merge(target, patch);
        }
        read(target)
    }
}

/// A body that may be left out altogether.
impl OptionalFromRequest<Control> for Body {
    type Rejection = Fault;

    async fn from_request(request: Request, control: &Control) -> Answer<Option<Self>> {
        let absent = request.body().size_hint().exact() == Some(0)
            && !request.headers().contains_key(header::CONTENT_TYPE);
        if absent {
            return Ok(None);
        }
        <Self as FromRequest<Control>>::from_request(request, control)
            .await
            .map(Some)
    }
}

fn read<T: DeserializeOwned>(value: Value) -> Answer<T> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = json_pointer(error.path());
        Fault::invalid(pointer, error.into_inner().to_string())
    })
}

fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => {
                target.remove(&name);
            }
            Value::Object(patch) => {
                let slot = target.entry(name).or_insert(Value::Null);
                if !slot.is_object() {
                    *slot = Value::Object(Map::new());
                }
                if let Value::Object(slot) = slot {
                    merge(slot, patch);
                }
            }
            other => {
                target.insert(name, other);
            }
        }
    }
}

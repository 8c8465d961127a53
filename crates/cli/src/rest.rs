//! The common commands of every resource: list, get, create, update, delete, and what only some can do.

use crate::api::{Api, Call, Reply, segment, with_query};
use crate::failure::{Code, Failure, Outcome};
use crate::node::Node;
use crate::output::{self, Form};
use crate::resources::{self, Action, Column, Resource, Target, Verb};
use crate::surroundings::Surroundings;
use crate::yaml;
use clap::ArgMatches;
use http::Method;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// Items of a list that are shown unless more are asked for.
const SHOWN: usize = 200;
/// People whose addresses are looked up for one table at the most; others are shown by identifier.
const PEOPLE: usize = 50;

/// One run of one command.
pub(crate) struct Run<'a> {
    pub(crate) api: &'a Api,
    pub(crate) around: &'a mut Surroundings,
    pub(crate) resource: &'static Resource,
    pub(crate) args: &'a ArgMatches,
}

impl Run<'_> {
    fn text(&self, name: &str) -> Option<String> {
        // Not every command has every argument.
        self.args.try_get_one::<String>(name).ok().flatten().cloned()
    }

    fn flag(&self, name: &str) -> bool {
        self.args
            .try_get_one::<bool>(name)
            .ok()
            .flatten()
            .copied()
            .unwrap_or(false)
    }

    fn form(&self, usual: Form) -> Form {
        self.args
            .try_get_one::<Form>("output")
            .ok()
            .flatten()
            .copied()
            .unwrap_or(usual)
    }

    pub(crate) async fn verb(mut self, verb: Verb) -> Outcome {
        match verb {
            Verb::List => {
                let columns = self.resource.columns;
                self.list(self.resource.name.to_owned(), columns).await
            }
            Verb::Get => {
                let path = self.item().await?;
                let reply = self.api.get(path).await?;
                self.show(&reply, self.resource.columns, Form::Yaml).await
            }
            Verb::Create => {
                let body = self.body(true).await?;
                let call = Call::new(Method::POST, self.write_path(self.resource.name)).body(&body);
                let reply = self.api.send(call).await?;
                self.written(&reply).await
            }
            Verb::Update => {
                let path = self.item().await?;
                let body = self.body(true).await?;
                self.change(Method::PATCH, &path, Some(&body)).await
            }
            Verb::Delete => {
                let path = self.item().await?;
                self.change(Method::DELETE, &path, None).await
            }
        }
    }

    /// PATCH and DELETE: of the version that `--if-match` says, or of what is there now.
    pub(crate) async fn change(&mut self, method: Method, path: &str, body: Option<&Value>) -> Outcome {
        let tag = match self.text("if_match") {
            Some(tag) => Some(version_tag(&tag)),
            // What has a version is changed as it was just read.
            None if self.resource.verbs.contains(&Verb::Get) => self.api.get(path).await?.etag,
            None => None,
        };
        let mut call = Call::new(method.clone(), self.write_path(path)).if_match(tag.as_deref());
        call.body = body;
        let reply = self.api.send(call).await?;
        if method == Method::DELETE && reply.body.is_null() {
            self.around.note("Deleted.");
            return Ok(());
        }
        self.written(&reply).await
    }

    pub(crate) async fn action(mut self, action: &Action) -> Outcome {
        let path = match action.target {
            Target::Collection if action.path.is_empty() => self.resource.name.to_owned(),
            Target::Collection => format!("{}/{}", self.resource.name, action.path),
            Target::Item => format!("{}/{}", self.item().await?, action.path),
            Target::Part => {
                let part = segment(&self.text("part").unwrap_or_default());
                let item = self.item().await?;
                if action.path.contains("{}") {
                    format!("{item}/{}", action.path.replace("{}", &part))
                } else {
                    format!("{item}/{}/{part}", action.path)
                }
            }
        };
        if action.method == Method::GET {
            if !action.columns.is_empty() {
                return self.list(path, action.columns).await;
            }
            let reply = self.api.get(path).await?;
            return self.show(&reply, &[], Form::Yaml).await;
        }
        let body = if action.body {
            self.body(false).await?
        } else {
            Value::Object(Map::new())
        };
        let mut call = Call::new(action.method.clone(), self.write_path(&path));
        if action.body {
            call = call.body(&body);
        }
        let reply = self.api.send(call).await?;
        self.written(&reply).await
    }

    async fn list(&mut self, path: String, columns: &[Column]) -> Outcome {
        let mut query = Vec::new();
        for pair in self
            .args
            .try_get_many::<String>("filter")
            .ok()
            .flatten()
            .into_iter()
            .flatten()
        {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--filter takes KEY=VALUE, not {pair}")))?;
            query.push((key.to_owned(), value.to_owned()));
        }
        for (flag, names) in self.resource.filters {
            if let Some(value) = self.text(flag) {
                let value = match names {
                    Some(resource) => identify(self.api, resource, &value, &Map::new()).await?,
                    None => value,
                };
                query.push(((*flag).to_owned(), value));
            }
        }
        let most = match self.args.try_get_one::<usize>("limit").ok().flatten() {
            _ if self.flag("all") => None,
            Some(limit) => Some(*limit),
            None => Some(SHOWN),
        };
        // One more than is shown, to know whether there is more.
        let mut items = self.api.list(&path, &query, most.map(|m| m + 1)).await?;
        if let Some(most) = most
            && items.len() > most
        {
            items.truncate(most);
            self.around
                .note(format!("Only the first {most} are shown: --all shows all."));
        }
        match self.form(Form::Table) {
            Form::Table => {
                let names = names(self.api, &items, columns).await?;
                self.around.print(output::table(&items, columns, &names))
            }
            form => self.around.print(output::data(&Node::list(items), form)),
        }
    }

    pub(crate) async fn show(&mut self, reply: &Reply, columns: &[Column], usual: Form) -> Outcome {
        // Lists inside an answer, such as those of several bindings, are shown as lists.
        let listed = reply.body.get("items").map(Node::items);
        match self.form(usual) {
            Form::Table if !columns.is_empty() => {
                let items = listed.unwrap_or(std::slice::from_ref(&reply.body));
                let names = names(self.api, items, columns).await?;
                self.around.print(output::table(items, columns, &names))
            }
            form => {
                let whole = listed.map_or_else(|| reply.body.clone(), |items| Node::list(items.to_vec()));
                self.around.print(output::data(&whole, form))
            }
        }
    }

    async fn written(&mut self, reply: &Reply) -> Outcome {
        if self.flag("dry_run") {
            return output::preview(&reply.body, self.form(Form::Table), self.around);
        }
        if reply.body.is_null() {
            self.around.note("Done.");
            return Ok(());
        }
        self.show(reply, self.resource.columns, Form::Yaml).await
    }

    fn write_path(&self, path: &str) -> String {
        if self.flag("dry_run") {
            with_query(path, &[("dry_run".into(), "true".into())])
        } else {
            path.to_owned()
        }
    }

    /// The path of the thing that the command names.
    async fn item(&self) -> Outcome<String> {
        let name = self.text("name").unwrap_or_default();
        let mut within = Map::new();
        for place in ["account", "app", "connection"] {
            if let Some(value) = self.text(place) {
                let resource = resources::named_by(place).unwrap_or_default();
                let id = identify(self.api, resource, &value, &Map::new()).await?;
                within.insert(place.to_owned(), id.into());
            }
        }
        let id = identify(self.api, self.resource.name, &name, &within).await?;
        Ok(format!("{}/{}", self.resource.name, segment(&id)))
    }

    /// The body that `-f`, `--set` and `--account` make.
    pub(crate) async fn body(&mut self, needed: bool) -> Outcome<Value> {
        let mut body = Map::new();
        let file = self.args.try_get_one::<PathBuf>("file").ok().flatten().cloned();
        let sets: Vec<String> = self
            .args
            .try_get_many::<String>("set")
            .ok()
            .flatten()
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        if needed && file.is_none() && sets.is_empty() {
            return Err(Failure::usage("say what: -f FILE or --set KEY=VALUE"));
        }
        if let Some(file) = file {
            let text = self.around.read_file(&file)?;
            let node = yaml::read(&text)
                .map_err(|e| Failure::usage(format!("{}:{}: {}", file.display(), e.at, e.detail)))?;
            match node.to_value() {
                Value::Object(map) => body = map,
                _ => return Err(Failure::usage(format!("{}: a map is wanted", file.display()))),
            }
        }
        for pair in sets {
            set(&mut body, &pair)?;
        }
        if let Some(account) = self.text("account")
            && !body.contains_key("account")
            && self.args.try_get_one::<String>("name").is_err()
        {
            body.insert("account".into(), account.into());
        }
        self.identify_fields(&mut body).await?;
        Ok(Value::Object(body))
    }

    /// Names in fields that take identifiers become identifiers.
    async fn identify_fields(&self, body: &mut Map<String, Value>) -> Outcome {
        let mut fields: Vec<String> = body.keys().cloned().collect();
        // The account first: names of other things are looked up in it.
        fields.sort_by_key(|name| name != "account");
        for field in fields {
            let Some(resource) = resources::named_by(&field) else {
                continue;
            };
            let within: Map<String, Value> = body
                .iter()
                .filter(|(key, value)| *key == "account" && value.is_string() && resource != "accounts")
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            match body.get_mut(&field) {
                Some(Value::String(name)) => *name = identify(self.api, resource, name, &within).await?,
                Some(Value::Array(names)) => {
                    for name in names {
                        if let Value::String(name) = name {
                            *name = identify(self.api, resource, name, &within).await?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// `3`, `v3` and `"v3"` are the same version.
fn version_tag(text: &str) -> String {
    let plain = text.trim_matches('"').trim_start_matches('v');
    if text == "*" || !plain.bytes().all(|b| b.is_ascii_digit()) {
        return text.to_owned();
    }
    format!("\"v{plain}\"")
}

/// `--set a.b=value`; the value is read as YAML.
fn set(body: &mut Map<String, Value>, pair: &str) -> Outcome {
    let (path, value) = pair
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("--set takes KEY=VALUE, not {pair}")))?;
    // A value that only looks like YAML is text.
    let value = yaml::read(value).map_or_else(|_| value.into(), |node| node.to_value());
    let (path, last) = path
        .rsplit_once('.')
        .map_or((None, path), |(path, last)| (Some(path), last));
    let mut map = body;
    for part in path.into_iter().flat_map(|path| path.split('.')) {
        let slot = map.entry(part).or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            *slot = Value::Object(Map::new());
        }
        match slot {
            Value::Object(inner) => map = inner,
            _ => return Ok(()),
        }
    }
    map.insert(last.to_owned(), value);
    Ok(())
}

/// The identifier of what a person calls `name`, among what fits `within`.
pub(crate) async fn identify(
    api: &Api,
    resource: &str,
    name: &str,
    within: &Map<String, Value>,
) -> Outcome<String> {
    if resources::of_id(name).is_some() {
        return Ok(name.to_owned());
    }
    let Some(found) = resources::find(resource).filter(|r| !r.keys.is_empty()) else {
        return Err(Failure::usage(format!(
            "{name} is not an identifier; {resource} have no names"
        )));
    };
    let query = if resource == "users" {
        vec![("q".to_owned(), name.to_owned())]
    } else {
        Vec::new()
    };
    let items = api.list(found.name, &query, None).await?;
    let fits = |item: &&Node| {
        let field = |key: &str| item.get(key).and_then(Node::as_str);
        let named = found.keys.iter().any(|key| field(key) == Some(name));
        named && within.iter().all(|(key, value)| field(key) == value.as_str())
    };
    let matching: Vec<&Node> = items.iter().filter(fits).collect();
    let id = |item: &Node| {
        item.get("id")
            .and_then(Node::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    match matching.as_slice() {
        [] => Err(Failure::new(
            Code::NotFound,
            format!("there is no {} called {name}", found.singular),
        )),
        [one] => Ok(id(one)),
        several => {
            let names = names(api, &items, found.columns).await?;
            let several: Vec<Node> = several.iter().map(|node| (*node).clone()).collect();
            Err(Failure::usage(format!(
                "{} {} are called {name}: say which by its id{}\n{}",
                several.len(),
                found.name,
                if found.filters.iter().any(|(f, _)| *f == "account") {
                    " or by --account"
                } else {
                    ""
                },
                output::table(&several, found.columns, &names).trim_end()
            )))
        }
    }
}

/// Names for the identifiers that these columns would show.
async fn names(api: &Api, items: &[Node], columns: &[Column]) -> Outcome<HashMap<String, String>> {
    let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for item in items {
        for (title, paths) in columns.iter().filter(|(title, _)| *title != "ID") {
            let shown = paths
                .iter()
                .find_map(|path| item.get(path).filter(|n| !n.is_null()));
            let Some(id) = shown.and_then(Node::as_str).filter(|_| !title.is_empty()) else {
                continue;
            };
            if let Some(resource) = resources::of_id(id).filter(|r| !r.is_empty()) {
                wanted.entry(resource).or_default().push(id);
            }
        }
    }
    let mut names = HashMap::new();
    for (resource, mut ids) in wanted {
        ids.sort_unstable();
        ids.dedup();
        let key = resources::find(resource).and_then(|r| r.keys.first()).copied();
        let Some(key) = key else { continue };
        let few = ids.len() <= 3 || resource == "users";
        let found = if few {
            let mut found = Vec::new();
            for id in ids.iter().take(PEOPLE) {
                // It may be gone meanwhile, or hidden: then its identifier is shown.
                found.extend(api.get(format!("{resource}/{id}")).await.ok().map(|r| r.body));
            }
            found
        } else {
            api.list(resource, &[], None).await.unwrap_or_default()
        };
        for item in &found {
            let field = |name: &str| item.get(name).and_then(Node::as_str).map(ToOwned::to_owned);
            if let (Some(id), Some(name)) = (field("id"), field(key)) {
                names.insert(id, name);
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_set_by_dotted_keys() {
        let mut body = Map::new();
        for pair in [
            "managed_oauth=true",
            "oauth.registration.dynamic=false",
            "oauth.grant_seconds=300",
            "policies=[a, b]",
            "note=a: b: c",
            "claims=",
            "url=https://x/?a=b",
        ] {
            set(&mut body, pair).unwrap();
        }
        assert_eq!(
            Value::Object(body),
            json!({
                "managed_oauth": true, "policies": ["a", "b"], "note": "a: b: c", "claims": null,
                "oauth": {"registration": {"dynamic": false}, "grant_seconds": 300},
                "url": "https://x/?a=b",
            })
        );
        assert_eq!(set(&mut Map::new(), "x").unwrap_err().code, Code::Usage);
    }

    #[test]
    fn versions_are_written_in_three_ways() {
        for text in ["3", "v3", "\"v3\""] {
            assert_eq!(version_tag(text), "\"v3\"");
        }
        assert_eq!(version_tag("*"), "*");
    }
}

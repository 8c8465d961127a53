//! What an access token's scopes cover.

use crate::{
    CompileError, RequestFacts,
    pattern::{self, PathPattern, ToolPattern, check_method},
};
use wire::{Cover, ScopeSpec};

/// The scopes of one app, compiled.
#[derive(Debug)]
pub struct ScopeSet {
    scopes: Vec<Scope>,
}

#[derive(Debug)]
struct Scope {
    name: String,
    covers: Vec<Requests>,
}

/// A compiled [`Cover`].
#[derive(Debug)]
struct Requests {
    methods: Vec<String>,
    path: Option<PathPattern>,
    tools: Option<Vec<ToolPattern>>,
}

impl ScopeSet {
    /// Compiles the scopes that an app declares.
    ///
    /// # Errors
    /// A name that is empty, given twice or outside RFC 6749 section 3.3; a bad method, path or tool pattern.
    /// Pointers start with `/scopes/N`.
    pub fn compile(specs: &[ScopeSpec]) -> Result<Self, CompileError> {
        let mut scopes: Vec<Scope> = Vec::with_capacity(specs.len());
        for (i, spec) in specs.iter().enumerate() {
            let pointer = format!("/scopes/{i}");
            let token = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
            if spec.name.is_empty() || !spec.name.bytes().all(token) {
                let detail =
                    "a scope's name is one or more printable ASCII characters but space, `\"` and `\\`";
                return Err(CompileError::new(format!("{pointer}/name"), detail));
            }
            if scopes.iter().any(|earlier| earlier.name == spec.name) {
                return Err(CompileError::new(
                    format!("{pointer}/name"),
                    "another scope has this name",
                ));
            }
            let compile = |(j, cover)| Requests::compile(cover, &format!("{pointer}/covers/{j}"));
            let covers = spec
                .covers
                .iter()
                .enumerate()
                .map(compile)
                .collect::<Result<_, _>>()?;
            scopes.push(Scope {
                name: spec.name.clone(),
                covers,
            });
        }
        Ok(Self { scopes })
    }

    /// Whether the granted scopes together cover the request. Scopes that the app does not declare (any
    /// more) cover nothing.
    #[must_use]
    pub fn covers(&self, granted: &[String], request: &RequestFacts<'_>) -> bool {
        request.calls().all(|tool| {
            self.scopes
                .iter()
                .any(|scope| granted.contains(&scope.name) && scope.covers(request, tool))
        })
    }

    /// The scopes to ask for, for a challenge with `insufficient_scope`: for each call in the request, the
    /// first declared scope that covers it. Empty if no scope would do.
    #[must_use]
    pub fn needed(&self, request: &RequestFacts<'_>) -> Vec<&str> {
        let mut needed: Vec<&Scope> = Vec::new();
        for tool in request.calls() {
            if needed.iter().any(|scope| scope.covers(request, tool)) {
                continue;
            }
            match self.scopes.iter().find(|scope| scope.covers(request, tool)) {
                Some(scope) => needed.push(scope),
                None => return Vec::new(),
            }
        }
        needed.into_iter().map(|scope| scope.name.as_str()).collect()
    }

    /// The names of all scopes, in the order in which the app declares them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.scopes.iter().map(|scope| scope.name.as_str())
    }
}

impl Scope {
    fn covers(&self, request: &RequestFacts<'_>, tool: Option<&str>) -> bool {
        // An MCP session is unusable without its messages that call no tool, so any scope will do for them.
        (request.mcp.is_some() && tool.is_none()) || self.covers.iter().any(|c| c.contains(request, tool))
    }
}

impl Requests {
    fn compile(cover: &Cover, pointer: &str) -> Result<Self, CompileError> {
        let at = |field: String, detail| CompileError::new(format!("{pointer}/{field}"), detail);
        for (i, method) in cover.methods.iter().enumerate() {
            check_method(method).map_err(|detail| at(format!("methods/{i}"), detail))?;
        }
        let path = cover.path.as_deref().map(PathPattern::compile).transpose();
        let path = path.map_err(|detail| at("path".into(), detail))?;
        let tool = |(i, text): (usize, &String)| {
            ToolPattern::compile(text).map_err(|detail| at(format!("tools/{i}"), detail))
        };
        let tools = cover
            .tools
            .as_ref()
            .map(|tools| tools.iter().enumerate().map(tool).collect());
        Ok(Self {
            methods: pattern::methods(&cover.methods),
            path,
            tools: tools.transpose()?,
        })
    }

    fn contains(&self, request: &RequestFacts<'_>, tool: Option<&str>) -> bool {
        let called = |tools: &Vec<ToolPattern>| tool.is_some_and(|t| tools.iter().any(|p| p.matches(t)));
        (self.methods.is_empty() || self.methods.iter().any(|m| m == request.method))
            && self
                .path
                .as_ref()
                .is_none_or(|pattern| pattern.matches(request.path, request.case))
            && self.tools.as_ref().is_none_or(called)
    }
}

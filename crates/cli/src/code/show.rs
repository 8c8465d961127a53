//! Plans for people and for programs: which things, what differs line by line, who gains and loses access.

use super::names::Names;
use super::plan::{Act, Plan, Step};
use crate::node::{Content, Node};
use crate::output::{Paint, clean, differences, impact_text, paint};
use crate::yaml;
use serde_json::{Value, json};
use std::collections::HashMap;
use wire::Impact;

/// What the server says to a step before it is made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Foreseen {
    pub(crate) impact: Option<Impact>,
    /// Why it would be refused as things are now.
    pub(crate) refused: Option<String>,
}

/// How much is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    pub(crate) colours: bool,
    /// Also what new and deleted things say.
    pub(crate) whole: bool,
}

/// What a step is called: `app Production/Wiki`.
pub(crate) fn title(names: &Names<'_>, step: &Step) -> String {
    let path = names.path(&step.thing);
    clean(format!("{} {path}", step.thing.kind.noun()).trim_end())
}

/// The plan, step by step.
pub(crate) fn text(
    plan: &Plan,
    names: &Names<'_>,
    foreseen: &HashMap<String, Foreseen>,
    style: Style,
) -> String {
    let mut text = String::new();
    for step in &plan.steps {
        let (word, colour) = match step.act {
            Act::Create => ("+ create", Paint::Green),
            Act::Update => ("~ update", Paint::Yellow),
            Act::Delete => ("- delete", Paint::Red),
        };
        let head = format!("{word} {}", title(names, step));
        text.push_str(&paint(style.colours, colour, &head));
        text.push('\n');
        let side = |spec: &Node| {
            let readable = names.readable(step.thing.kind, spec);
            match &readable.content {
                // What only its place tells from others has no name in its lines.
                Content::Map(entries) if entries.is_empty() => String::new(),
                _ => yaml::write(&readable),
            }
        };
        let after = side(&step.thing.spec);
        match (step.act, &step.before) {
            (Act::Update, Some(before)) => {
                text.push_str(&differences(&side(&before.spec), &after, style.colours))
            }
            (Act::Create, _) if style.whole => text.push_str(&differences("", &after, style.colours)),
            (Act::Delete, _) if style.whole => text.push_str(&differences(&after, "", style.colours)),
            _ => {}
        }
        if let Some(variable) = &step.secret {
            let line = format!("    client_secret from {variable}");
            text.push_str(&paint(style.colours, Paint::Yellow, &line));
            text.push('\n');
        }
        if let Some(foreseen) = foreseen.get(&step.thing.id) {
            if let Some(impact) = &foreseen.impact {
                text.push_str(&impact_text(impact, "    ", style.colours));
            }
            if let Some(refused) = &foreseen.refused {
                let line = format!(
                    "    as things are now, the server would refuse: {}",
                    clean(refused)
                );
                text.push_str(&paint(style.colours, Paint::Red, &line));
                text.push('\n');
            }
        }
    }
    text
}

/// One line about the whole.
pub(crate) fn summary(plan: &Plan) -> String {
    let count = |act: Act| plan.steps.iter().filter(|s| s.act == act).count();
    format!(
        "{} to create, {} to update, {} to delete",
        count(Act::Create),
        count(Act::Update),
        count(Act::Delete)
    )
}

/// What stays although the file does not describe it.
pub(crate) fn kept(plan: &Plan, names: &Names<'_>) -> Option<String> {
    if plan.kept.is_empty() {
        return None;
    }
    let some: Vec<_> = plan
        .kept
        .iter()
        .take(5)
        .map(|thing| clean(&format!("{} {}", thing.kind.noun(), names.path(thing))))
        .collect();
    let more = match plan.kept.len() - some.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "Only at the server, and kept without --prune: {}{more}.",
        some.join(", ")
    ))
}

/// The plan for programs.
pub(crate) fn machine(plan: &Plan, names: &Names<'_>, foreseen: &HashMap<String, Foreseen>) -> Value {
    let steps = plan.steps.iter().map(|step| {
        let side = |spec: &Node| names.readable(step.thing.kind, spec).to_value();
        let said = foreseen.get(&step.thing.id);
        json!({
            "action": match step.act {
                Act::Create => "create",
                Act::Update => "update",
                Act::Delete => "delete",
            },
            "kind": step.thing.kind.noun(),
            "name": names.path(&step.thing),
            "before": step.before.as_ref().map(|b| side(&b.spec)),
            "after": (step.act != Act::Delete).then(|| side(&step.thing.spec)),
            "secret_from": step.secret,
            "impact": said.and_then(|s| s.impact.as_ref()),
            "refused": said.and_then(|s| s.refused.as_ref()),
        })
    });
    json!({
        "steps": steps.collect::<Vec<_>>(),
        "kept": plan.kept.iter().map(|t| format!("{} {}", t.kind.noun(), names.path(t))).collect::<Vec<_>>(),
        "notes": plan.notes,
    })
}

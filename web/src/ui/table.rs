//! Tables: columns with optional sorting that stands in the URL, scrolling in their own box.

use leptos::prelude::*;
use std::{cmp::Ordering, sync::Arc};

/// The label of the column with a row's buttons; only read aloud.
pub(crate) const ACTIONS: &str = "Actions";

type Cell<T> = Arc<dyn Fn(&T) -> AnyView + Send + Sync>;

/// One column.
#[derive(Clone)]
pub(crate) struct Column<T> {
    label: &'static str,
    order: Option<fn(&T, &T) -> Ordering>,
    cell: Cell<T>,
}

/// A column that shows `cell`.
pub(crate) fn column<T>(
    label: &'static str,
    cell: impl Fn(&T) -> AnyView + Send + Sync + 'static,
) -> Column<T> {
    Column {
        label,
        order: None,
        cell: Arc::new(cell),
    }
}

impl<T> Column<T> {
    /// Lets people sort by this column.
    pub(crate) fn sorted_by(self, order: fn(&T, &T) -> Ordering) -> Self {
        Self {
            order: Some(order),
            ..self
        }
    }
}

/// A table of `rows`. `?sort=Label` sorts upwards, `?sort=-Label` downwards.
pub(crate) fn table<T: Clone + Send + Sync + 'static>(
    caption: &'static str,
    columns: Vec<Column<T>>,
    rows: Vec<T>,
) -> AnyView {
    let (sort, set_sort) = super::url_param("sort");
    let columns = StoredValue::new(columns);
    let rows = StoredValue::new(rows);
    let head = columns.with_value(|columns| {
        columns
            .iter()
            .map(|column| head_cell(column.label, column.order.is_some(), sort, set_sort))
            .collect_view()
    });
    let body = move || {
        let sort = sort.get();
        let (down, label) = sort
            .strip_prefix('-')
            .map_or((false, sort.as_str()), |label| (true, label));
        let mut rows = rows.get_value();
        columns.with_value(|columns| {
            if let Some(order) = columns.iter().find(|c| c.label == label).and_then(|c| c.order) {
                rows.sort_by(|a, b| if down { order(b, a) } else { order(a, b) });
            }
            rows.iter()
                .map(|row| {
                    let cells: Vec<_> = columns
                        .iter()
                        .map(|column| {
                            // What a row can be made to do stays in sight, however wide the table is.
                            let place = if column.label == ACTIONS { "sticky right-0 bg-inherit text-right" } else { "" };
                            view! { <td class=format!("px-3 py-2 align-middle {place}")>{(column.cell)(row)}</td> }
                        })
                        .collect();
                    view! { <tr class="border-t border-base-300 bg-base-100 hover:bg-base-200">{cells}</tr> }
                })
                .collect_view()
        })
    };
    view! {
        <div class="panel relative overflow-x-auto" tabindex="0" role="region" aria-label=caption>
            <table class="w-full text-left">
                <caption class="sr-only">{caption}</caption>
                <thead class="bg-base-200">
                    <tr>{head}</tr>
                </thead>
                <tbody>{body}</tbody>
            </table>
        </div>
    }
    .into_any()
}

fn head_cell(
    label: &'static str,
    sortable: bool,
    sort: Signal<String>,
    set_sort: Callback<String>,
) -> impl IntoView {
    let state = move || match sort.get() {
        now if now == label => Some("ascending"),
        now if now.strip_prefix('-') == Some(label) => Some("descending"),
        _ => None,
    };
    let flip = move |_| {
        set_sort.run(if sort.get_untracked() == label {
            format!("-{label}")
        } else {
            label.to_owned()
        });
    };
    let inner = if sortable {
        view! {
            <button type="button" class="inline-flex cursor-pointer items-center gap-1 py-1 font-medium" on:click=flip>
                {label}
                <span class="w-3" aria-hidden="true">
                    {move || match state() {
                        Some("ascending") => "↑",
                        Some(_) => "↓",
                        None => "↕",
                    }}
                </span>
            </button>
        }
        .into_any()
    } else if label == ACTIONS {
        view! { <span class="sr-only">{label}</span> }.into_any()
    } else {
        label.into_any()
    };
    view! {
        <th
            scope="col"
            class="muted px-3 py-1.5 text-[0.8125rem] font-medium whitespace-nowrap"
            class=("sticky right-0 bg-base-200", label == ACTIONS)
            aria-sort=state
        >
            {inner}
        </th>
    }
}

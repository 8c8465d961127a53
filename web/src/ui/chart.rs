//! Requests by hour as stacked bars: SVG attributes only, with a table for those who do not see it.

use super::local;
use leptos::prelude::*;
use wire::HourCount;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;

/// Allowed and denied requests by hour.
#[component]
pub(crate) fn HourChart(hours: Vec<HourCount>) -> impl IntoView {
    let most = hours
        .iter()
        .map(|hour| hour.allowed + hour.denied)
        .max()
        .unwrap_or(0)
        .max(1);
    let allowed: i64 = hours.iter().map(|hour| hour.allowed).sum();
    let denied: i64 = hours.iter().map(|hour| hour.denied).sum();
    let summary = format!("{allowed} allowed and {denied} denied, at most {most} in one hour");
    let slot = WIDTH / as_f64(i64::try_from(hours.len().max(1)).unwrap_or(1));
    let bars: Vec<_> = hours
        .iter()
        .enumerate()
        .map(|(index, hour)| {
            let x = as_f64(i64::try_from(index).unwrap_or(0)) * slot + slot * 0.15;
            let up = HEIGHT * as_f64(hour.allowed) / as_f64(most);
            let top = HEIGHT * as_f64(hour.denied) / as_f64(most);
            view! {
                <g>
                    <title>{format!("{}: {} allowed, {} denied", local(hour.hour), hour.allowed, hour.denied)}</title>
                    <rect x=x.to_string() y=(HEIGHT - up).to_string() width=(slot * 0.7).to_string() height=up.to_string() class="fill-secondary" />
                    <rect x=x.to_string() y=(HEIGHT - up - top).to_string() width=(slot * 0.7).to_string() height=top.to_string() class="fill-error" />
                </g>
            }
        })
        .collect();
    let rows = hours.clone();
    // With its day: the hour alone is the same at both ends.
    let first = hours.first().map(|hour| local(hour.hour));
    let first = first
        .and_then(|first| first.get(..16).map(str::to_owned))
        .unwrap_or_default();
    view! {
        <figure class="flex flex-col gap-2">
            <div class="flex flex-wrap gap-4 text-[0.8125rem]">
                <span class="inline-flex items-center gap-1.5"><span class="bg-secondary size-2.5 rounded-xs" aria-hidden="true"></span>{format!("{allowed} allowed")}</span>
                <span class="inline-flex items-center gap-1.5"><span class="bg-error size-2.5 rounded-xs" aria-hidden="true"></span>{format!("{denied} denied")}</span>
            </div>
            <svg viewBox=format!("0 0 {WIDTH} {}", HEIGHT + 2.0) class="h-36 w-full" preserveAspectRatio="none" role="img" aria-label=format!("Requests by hour: {summary}")>
                {bars}
                <line x1="0" x2=WIDTH.to_string() y1=(HEIGHT + 1.0).to_string() y2=(HEIGHT + 1.0).to_string() class="stroke-base-300" stroke-width="1" />
            </svg>
            <div class="muted flex justify-between text-xs" aria-hidden="true"><span>{first}</span><span>"now"</span></div>
            <details>
                <summary class="muted w-fit cursor-pointer py-1 text-xs">"As a table"</summary>
                <div class="max-h-60 overflow-y-auto" tabindex="0" role="region" aria-label="Requests by hour">
                    <table class="w-full max-w-sm text-left tabular-nums">
                        <thead><tr><th scope="col">"Hour"</th><th scope="col">"Allowed"</th><th scope="col">"Denied"</th></tr></thead>
                        <tbody>
                            {rows.into_iter().map(|hour| view! { <tr><td>{local(hour.hour)}</td><td>{hour.allowed}</td><td>{hour.denied}</td></tr> }).collect_view()}
                        </tbody>
                    </table>
                </div>
            </details>
        </figure>
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts for drawing")]
fn as_f64(n: i64) -> f64 {
    n as f64
}

//! Moments in the reader's own time zone; UTC on hover and for machines.

use leptos::prelude::*;
use wire::Timestamp;

/// `2026-11-21 10:20:30` where the reader is.
pub(crate) fn local(time: Timestamp) -> String {
    // A double holds the milliseconds of the next 200,000 years exactly.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds fit a double")]
    let date = js_sys::Date::new(&((time.0 / 1000) as f64).into());
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        date.get_full_year(),
        date.get_month() + 1,
        date.get_date(),
        date.get_hours(),
        date.get_minutes(),
        date.get_seconds()
    )
}

/// How long ago, in one unit.
pub(crate) fn ago(time: Timestamp) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
    let now = (js_sys::Date::now() / 1000.0) as i64;
    let seconds = now - time.seconds();
    let unit = |n: i64, name: &str| {
        if n == 1 {
            format!("1 {name} ago")
        } else {
            format!("{n} {name}s ago")
        }
    };
    match seconds {
        ..0 => local(time),
        0..5 => "just now".into(),
        5..60 => unit(seconds, "second"),
        60..3_600 => unit(seconds / 60, "minute"),
        3_600..172_800 => unit(seconds / 3_600, "hour"),
        172_800..5_184_000 => unit(seconds / 86_400, "day"),
        _ => local(time),
    }
}

/// The exact moment.
pub(crate) fn moment(time: Timestamp) -> AnyView {
    view! { <time class="whitespace-nowrap tabular-nums" datetime=time.to_string() title=time.to_string()>{local(time)}</time> }
        .into_any()
}

/// How long ago, exact on hover.
pub(crate) fn since(time: Timestamp) -> AnyView {
    let title = format!("{} ({time})", local(time));
    view! { <time class="whitespace-nowrap" datetime=time.to_string() title=title>{ago(time)}</time> }
        .into_any()
}

/// How long ago, or that it never was.
pub(crate) fn since_or_never(time: Option<Timestamp>) -> AnyView {
    time.map_or_else(|| view! { <span class="muted">"never"</span> }.into_any(), since)
}

/// Now, by the browser's clock.
pub(crate) fn now() -> Timestamp {
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit")]
    Timestamp::from_seconds((js_sys::Date::now() / 1000.0) as i64)
}

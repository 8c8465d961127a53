//! The admin dashboard: rendered in the browser, a pure client of `/api/v1`.
//!
//! A page is a file in `pages/` and has four states: loading, empty, error, data. Widgets are in `ui/`.

#![expect(
    unreachable_pub,
    reason = "the component macro makes the types of its props public"
)]

mod app;
mod catalogue;
mod choice;
mod client;
mod labels;
mod me;
mod pages;
mod remote;
mod selector;
mod ui;

use wasm_bindgen::prelude::wasm_bindgen;

/// Entry point, called by the generated glue once the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    if let Some(boot) = leptos::prelude::document().get_element_by_id("boot") {
        boot.remove();
    }
    leptos::mount::mount_to_body(app::App);
}

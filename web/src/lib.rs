//! The admin dashboard: a client-side rendered pure client of `/api/v1`.

use leptos::prelude::*;
use wasm_bindgen::prelude::wasm_bindgen;

/// Entry point, called by the generated glue once the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    if let Some(boot) = document().get_element_by_id("boot") {
        boot.remove();
    }
    leptos::mount::mount_to_body(|| view! { <h1>"Chatelaine"</h1> });
}

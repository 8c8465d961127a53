//! Builds the binary anew when the dashboard that it embeds has changed.

fn main() {
    println!("cargo:rerun-if-changed=../../web/dist");
    println!("cargo:rerun-if-changed=../../web/assets");
}

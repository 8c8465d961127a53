//! Builds the store anew when a migration that it embeds was added.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations");
}

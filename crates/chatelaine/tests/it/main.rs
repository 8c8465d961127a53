//! The binary itself, as an operator runs it, on every engine that is there.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up has failed")]

mod backup;
mod rekey;
mod setup;
mod stopping;
mod world;

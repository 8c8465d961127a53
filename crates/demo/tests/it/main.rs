//! The demo's servers over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod idp;
mod support;
mod tickets;
mod wiki;

//! The real router, called as any client would call it.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up has failed")]

mod audit;
mod conventions;
mod description;
mod isolation;
mod refusals;
mod resources;
mod roles;
mod session;
mod world;

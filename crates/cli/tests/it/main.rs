//! The command line against real servers: two routers that listen, on each database.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up has failed")]

mod agents;
mod code;
mod rest;
mod world;

//! The authorization server through its real router: each test on SQLite, and on PostgreSQL where
//! `TEST_DATABASE_URL` names a server on which databases may be made. Names carry the ids of the security gate.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up has failed")]

mod assertion;
mod authorize;
mod bindings;
mod discovery;
mod document;
mod forgiving;
mod known;
mod model;
mod openid;
mod proof;
mod recorder;
mod refresh;
mod register;
mod revoke;
mod statements;
mod strangers;
mod token;
mod world;

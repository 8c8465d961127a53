//! Every function of the store on every engine that is there: SQLite always, PostgreSQL where
//! `TEST_DATABASE_URL` names a server on which databases may be made.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up has failed")]

mod attempt;
mod audit;
mod backup;
mod change;
mod client;
mod connection;
mod digest;
mod directory;
mod ended;
mod ending;
mod expiry;
mod far;
mod fold;
mod grant;
mod growth;
mod host;
mod impact;
mod invitation;
mod open;
mod org;
mod overview;
mod paging;
mod purpose;
mod readiness;
mod refresh;
mod rekey;
mod retention;
mod role_mapping;
mod rule;
mod schema;
mod session;
mod token;
mod unreadable;
mod upgrade;
mod user;
mod webhook;
mod went_back;
mod world;

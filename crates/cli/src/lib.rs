//! The command line as a client of the REST API: credentials, every resource, the organisation as code.
//!
//! It uses nothing but the API, as any automation does. The resources are a table ([`resources`]); a command
//! resolves names to identifiers, sends requests through [`api`], and shows the answer as a table, YAML or
//! JSON. `export`, `diff` and `apply` are in [`code`]: a file's things are found at the server by name, what
//! differs becomes a step, and the steps are made in an order in which what they name is there.

mod agents;
mod api;
mod audit;
mod code;
mod commands;
mod failure;
mod node;
mod output;
mod profile;
mod resources;
mod rest;
mod surroundings;
mod topics;
mod yaml;

pub use audit::Audit;
pub use commands::{Command, run, run_audit};
pub use surroundings::Surroundings;

//! The real router, called as any client would call it.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up has failed")]

mod agent_documents;
mod audit;
mod bindings;
mod connections;
mod conventions;
mod decision;
mod description;
mod enforcement;
mod gate;
mod growth;
mod hosts;
mod isolation;
mod matrix;
mod migrations;
mod oracles;
mod policies;
mod power;
mod previews;
mod recorder;
mod refusals;
mod released;
mod resources;
mod roles;
mod scale;
mod service_tokens;
mod session;
mod signing_out;
mod standing;
mod tenancy;
mod webhooks;
mod withheld;
mod world;

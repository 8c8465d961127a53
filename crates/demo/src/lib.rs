//! The parts of the demo that are not the product: an upstream OIDC provider ([`idp`]), a wiki ([`wiki`])
//! and an MCP server ([`tickets`]).
//!
//! They are small but real: the provider checks passwords and PKCE, and the two origins verify the gateway's
//! signed assertion ([`assertion`]) exactly as an internal app would.

pub mod assertion;
mod clock;
pub mod idp;
mod server;
pub mod tickets;
pub mod wiki;

pub use clock::Clock;

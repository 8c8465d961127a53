//! Signing keys, claims, minting and verification of JWTs: the one place that touches `jsonwebtoken`.
//!
//! Three kinds of token leave the server: access tokens (RFC 9068) for agents, verified again by our own
//! gateway, assertions for origins, verified by them at the account's JWKS, and, where an app has OpenID Connect
//! switched on, ID tokens for agents, verified by them at the issuer's. All are ES256; the
//! algorithm is pinned per key and nothing in a token's header can change how it is verified.
//!
//! ```text
//! key: next (published) ── rotate ──> active (signs) ── rotate ──> retiring (verifies) ── not_after ──> gone
//! ```

pub mod assertion;
mod claims;
pub mod document;
mod keyring;
pub mod metadata;
mod openid;

pub use claims::{AccessClaims, Act, AssertionClaims, Refused};
pub use keyring::{Jwks, Keyring};
pub use openid::{IdClaims, PersonClaims, at_hash};

//! Signing keys, claims, minting and verification of JWTs.

//! The gateway as a whole: real requests on a port, a real origin behind it, each engine of the store.

#![expect(clippy::unwrap_used, reason = "what a test cannot set up has failed")]

mod access;
mod bindings;
mod browser;
mod challenge;
mod crossing;
mod growth;
mod mcp;
mod pages;
mod proof;
mod reach;
mod reading;
mod service;
mod storm;
mod streams;
mod world;

//! The broker as a browser meets it: real routes, real databases, a real provider on a loopback port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod browser;
mod email_code;
mod idp;
mod logout;
mod me;
mod password;
mod sign_in;
mod token;
mod world;

//! The broker as a browser meets it: real routes, real databases, a real provider on a loopback port.

mod app;
mod browser;
mod idp;
mod me;
mod password;
mod sign_in;
mod token;
mod world;

//! The broker as a browser meets it: real routes, real databases, a real provider on a loopback port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod app;
mod break_glass;
mod breaker;
mod browser;
mod confirm;
mod cookie;
mod email_code;
mod factor;
mod github;
mod idp;
mod invite;
mod key;
mod lockout;
mod logout;
mod me;
mod mix_up;
mod password;
mod proof;
mod provider;
mod shapes;
mod sign_in;
mod strangers;
mod token;
mod trial;
mod vouch;
mod world;

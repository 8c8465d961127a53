//! The command line against real servers: two routers that listen, on each database.

mod code;
mod rest;
mod world;

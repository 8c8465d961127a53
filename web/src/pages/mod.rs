//! One file per page, named after what it shows.

pub(crate) mod accounts;
pub(crate) mod agent;
pub(crate) mod agents;
pub(crate) mod app;
pub(crate) mod apps;
pub(crate) mod attempts;
pub(crate) mod audit;
pub(crate) mod connection;
pub(crate) mod connections;
pub(crate) mod grants;
pub(crate) mod groups;
pub(crate) mod hosts;
pub(crate) mod known_agents;
pub(crate) mod migrations;
pub(crate) mod new_connection;
pub(crate) mod overview;
pub(crate) mod people;
pub(crate) mod person;
pub(crate) mod policies;
pub(crate) mod policy;
pub(crate) mod roles;
pub(crate) mod service_tokens;
pub(crate) mod settings;
pub(crate) mod tester;
pub(crate) mod tokens;
pub(crate) mod webhooks;

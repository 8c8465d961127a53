//! The admin REST API.

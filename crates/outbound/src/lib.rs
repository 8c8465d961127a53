//! The one HTTP client for requests that leave the server.

//! What the system remembers, on SQLite or PostgreSQL.

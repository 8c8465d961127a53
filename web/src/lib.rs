//! The admin dashboard.

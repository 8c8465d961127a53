//! People: sign-in through the bound connection, sessions, and the pages for both.

//! The binary: configuration, composition, command line, embedded dashboard.
fn main(){}

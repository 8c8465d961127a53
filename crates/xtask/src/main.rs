//! Developer commands: demo, test, web, bench.
fn main(){}

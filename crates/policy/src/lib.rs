//! The decision engine: rules and facts in, an explained decision out.

//! The data plane: authenticate, decide, record, forward.

//! Agents: discovery, registration, authorization, tokens, revocation.

//! The parts of the demo that are not the product: an upstream OIDC provider, a wiki and an MCP server.

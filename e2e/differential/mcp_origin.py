"""The Python SDK's server (mcp 2), saying what it was asked to do."""
import sys

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

server = MCPServer("origin", log_level="CRITICAL")


@server.tool()
def danger() -> str:
    print("forbidden", flush=True)
    return "danger"


@server.tool()
def harmless() -> str:
    print("open", flush=True)
    return "harmless"


app = server.streamable_http_app(
    stateless_http=True,
    json_response=True,
    transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
)
print("listening", flush=True)
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical")

"""idpyoidc (https://idpy-oidc.readthedocs.io), the certified library behind SATOSA and others, with two people and one
client. The library takes requests apart and makes answers; only HTTP and the pages are from here.

Usage: serve_idpyoidc.py PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI POST_LOGOUT_REDIRECT_URI BACKCHANNEL_LOGOUT_URI
Keeps everything in memory and in a folder that goes away with it; says `ready` when it listens.
"""

import json
import signal
import sys
import tempfile
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from idpyoidc.message.oauth2 import ResponseMessage
from idpyoidc.message.oidc import AccessTokenRequest, AuthorizationRequest
from idpyoidc.server import Server
from idpyoidc.server.oidc.session import Session

port, client_id, client_secret, redirect_uri, post_logout_redirect_uri, backchannel_logout_uri = sys.argv[1:]
issuer = f"http://127.0.0.1:{port}"
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

LOGIN = """<!DOCTYPE html><title>Log in</title><link rel="icon" href="data:,">
<form id="login" method="post" action="{{ action }}">
<input type="hidden" name="token" value="{{ token }}"><input name="username"><input name="password" type="password">
<button>Log in</button></form>"""
LOGOUT = """<!DOCTYPE html><title>Log out</title><link rel="icon" href="data:,">
<form id="logout" method="post" action="/rp_logout">
<input type="hidden" name="sjwt" value="%s"><button>Log out</button></form>"""

PEOPLE = {
    who: {
        "name": f"{who.title()} Doe",
        "email": f"{who}@idpy.example",
        "email_verified": True,
        "groups": ["staff", "wiki editors"],
    }
    for who in ["jane", "kim"]
}
SCOPES = {
    "openid": ["sub"],
    "profile": ["name"],
    "email": ["email", "email_verified"],
    "groups": ["groups"],
}


class EndSession(Session):
    def client_authentication(self, *_args, **_kwargs):
        """Browsers come here, not clients. The library takes them for clients without a token, and fails."""
        return {}


def endpoint(path, name, **kwargs):
    return {"path": path, "class": f"idpyoidc.server.{name}", "kwargs": kwargs}


def keys(*kinds):
    return {"key_defs": [{"type": "OCT", "use": ["enc"], "kid": kind} for kind in kinds]}


def provider(folder):
    (folder / "login.html").write_text(LOGIN)
    (folder / "people.json").write_text(json.dumps({who: f"a long password for {who}" for who in PEOPLE}))
    cookie_keys = [{"type": "OCT", "use": [use], "kid": use} for use in ["enc", "sig"]]
    server = Server(
        {
            "issuer": issuer,
            "key_conf": {
                "key_defs": [
                    # The login page wants one of this kind.
                    {"type": "RSA", "use": ["sig"]},
                    {"type": "OKP", "crv": "Ed25519", "use": ["sig"]},
                    {"type": "EC", "crv": "P-256", "use": ["sig"]},
                ],
                "uri_path": "jwks",
            },
            "template_dir": str(folder),
            "cookie_handler": {
                "class": "idpyoidc.server.cookie_handler.CookieHandler",
                "kwargs": {
                    "keys": {"key_defs": cookie_keys},
                    "name": {"session": "idpy", "register": "idpy_rp", "session_management": "idpy_sman"},
                },
            },
            "session_params": {"encrypter": {"kwargs": {"keys": keys("password", "salt")}}},
            "token_handler_args": {
                "jwks_def": {**keys("code"), "private_path": str(folder / "code.json")},
                "code": {"kwargs": {"lifetime": 60}},
                "token": {
                    "class": "idpyoidc.server.token.jwt_token.JWTToken",
                    "kwargs": {"alg": "ES256", "lifetime": 600},
                },
                # Who somebody is, and nothing else: that is asked for at userinfo.
                "id_token": {"class": "idpyoidc.server.token.id_token.IDToken", "kwargs": {}},
            },
            "endpoint": {
                "provider_info": endpoint(
                    ".well-known/openid-configuration",
                    "oidc.provider_config.ProviderConfiguration",
                    client_authn_method=None,
                ),
                "authorization": endpoint(
                    "authorization", "oidc.authorization.Authorization", client_authn_method=None
                ),
                "token": endpoint("token", "oidc.token.Token", client_authn_method=["client_secret_basic"]),
                "userinfo": endpoint("userinfo", "oidc.userinfo.UserInfo", client_authn_method=["bearer_header"]),
                "end_session": {
                    "path": "session",
                    "class": EndSession,
                    "kwargs": {
                        "logout_verify_url": f"{issuer}/verify_logout",
                        "post_logout_uri_path": "post_logout",
                        "signing_alg": "ES256",
                    },
                },
            },
            "add_ons": {
                "pkce": {
                    "function": "idpyoidc.server.oauth2.add_on.pkce.add_support",
                    "kwargs": {"essential": True},
                }
            },
            "authentication": {
                "user": {
                    "acr": "urn:oasis:names:tc:SAML:2.0:ac:classes:InternetProtocolPassword",
                    "class": "idpyoidc.server.user_authn.user.UserPassJinja2",
                    "kwargs": {
                        "verify_endpoint": "/verify/user",
                        "template": "login.html",
                        "db": {
                            "class": "idpyoidc.server.util.JSONDictDB",
                            "kwargs": {"filename": str(folder / "people.json")},
                        },
                    },
                }
            },
            "scopes_to_claims": SCOPES,
            "userinfo": {"class": "idpyoidc.server.user_info.UserInfo", "kwargs": {"db": PEOPLE}},
        },
        entity_id=issuer,
    )
    server.context.cdb[client_id] = {
        "client_id": client_id,
        "client_secret": client_secret,
        "redirect_uris": [(redirect_uri, {})],
        "post_logout_redirect_uri": (post_logout_redirect_uri, {}),
        "backchannel_logout_uri": backchannel_logout_uri,
        "backchannel_logout_session_required": True,
        "response_types_supported": ["code"],
        "allowed_scopes": list(SCOPES),
        "token_endpoint_auth_method": "client_secret_basic",
        "id_token_signed_response_alg": "EdDSA",
        "userinfo_signed_response_alg": "ES256",
    }
    server.keyjar.add_symmetric(client_id, client_secret)
    return server


class Pages(BaseHTTPRequestHandler):
    def answer(self, status, body="", headers=(), cookies=()):
        self.send_response(status)
        body = body.encode()
        for name, value in headers:
            self.send_header(name, value)
        for cookie in cookies:
            end = "; Max-Age=0" if "expires" in cookie else ""
            self.send_header("Set-Cookie", f'{cookie["name"]}={cookie["value"]}; Path=/; HttpOnly; SameSite=Lax{end}')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def page(self, body):
        self.answer(200, body, [("Content-Type", "text/html; charset=utf-8")])

    def form(self):
        return dict(parse_qsl(self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()))

    def do_GET(self):
        url = urlsplit(self.path)
        names = {
            "/.well-known/openid-configuration": "provider_config",
            "/authorization": "authorization",
            "/userinfo": "userinfo",
            "/session": "session",
        }
        if url.path in names:
            self.serve(names[url.path], dict(parse_qsl(url.query)))
        elif url.path == "/jwks":
            self.answer(200, server.keyjar.export_jwks_as_json(), [("Content-Type", "application/json")])
        elif url.path == "/verify_logout":
            self.page(LOGOUT % dict(parse_qsl(url.query))["sjwt"])
        elif url.path == "/post_logout":
            self.page("<!DOCTYPE html><title>Logged out</title><h1>Logged out</h1>")
        else:
            self.answer(404)

    def do_POST(self):
        if self.path == "/token":
            self.serve("token", self.form())
        elif self.path == "/verify/user":
            self.log_in(self.form())
        elif self.path == "/rp_logout":
            self.log_out(self.form())
        else:
            self.answer(404)

    def serve(self, name, request):
        end = server.get_endpoint(name)
        sent = SimpleCookie(self.headers.get("Cookie", ""))
        cookies = [{"name": one.key, "value": one.value} for one in sent.values()]
        http_info = {
            "headers": {key.lower(): value for key, value in self.headers.items()},
            "method": self.command,
            "url": issuer + self.path,
            "cookie": cookies,
        }
        parsed = end.parse_request(request, http_info=http_info)
        if isinstance(parsed, ResponseMessage) and "error" in parsed:
            return self.answer(400, parsed.to_json(), [("Content-Type", "application/json")])
        if name == "token":
            parsed = AccessTokenRequest(**parsed)
        args = end.process_request(parsed, http_info=http_info)
        if "redirect_location" in args:
            return self.answer(302, headers=[("Location", args["redirect_location"])])
        if "http_response" in args:
            return self.page(args["http_response"])
        self.respond(end, parsed, args)

    def respond(self, end, request, args):
        info = end.do_response(request=request, **args)
        cookies = info.get("cookie", [])
        if info.get("response_placement", end.response_placement) == "url":
            return self.answer(302, headers=[("Location", info["response"])], cookies=cookies)
        self.answer(400 if "error" in args else 200, info["response"], info["http_headers"], cookies)

    def log_in(self, form):
        method = server.context.authn_broker.get_method_by_id("user")
        username = method.verify(**form)
        asked = method.unpack_token(form["token"])
        request = AuthorizationRequest().from_urlencoded(asked["query"])
        end = server.get_endpoint("authorization")
        session = end.create_session(request, username, asked["authn_class_ref"], asked["iat"], method)
        self.respond(end, request, end.authz_part2(request=request, session_id=session))

    def log_out(self, form):
        end = server.get_endpoint("session")
        asked = end.unpack_signed_jwt(form["sjwt"])
        # Everywhere; the library tells the client of the first session that the person has there.
        end.do_verified_logout(sid=asked["sid"], alla=True)
        self.answer(302, headers=[("Location", asked["redirect_uri"])], cookies=end.kill_cookies())


with tempfile.TemporaryDirectory(prefix="idpyoidc-") as folder:
    server = provider(Path(folder))
    httpd = ThreadingHTTPServer(("127.0.0.1", int(port)), Pages)
    print("ready", flush=True)
    httpd.serve_forever()

"""Canaille (https://canaille.yaal.coop), an identity provider that is not ours, with one person and one client.

Usage: serve_canaille.py PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI POST_LOGOUT_REDIRECT_URI
Keeps everything in memory; says `ready` when it listens.
"""

import sys

from canaille import create_app
from joserfc.jwk import RSAKey
from werkzeug.serving import make_server

port, client_id, client_secret, redirect_uri, post_logout_redirect_uri = sys.argv[1:]
key = RSAKey.generate_key(2048, parameters={"alg": "RS256", "use": "sig"}, auto_kid=True)
app = create_app(
    config={
        "SECRET_KEY": "only for this story",
        "SERVER_NAME": f"127.0.0.1:{port}",
        "PREFERRED_URL_SCHEME": "http",
        "DATABASE": "memory",
        "CANAILLE": {"NAME": "Canaille", "DATABASE": "memory", "JAVASCRIPT": False, "HTMX": False},
        "CANAILLE_OIDC": {
            "ACTIVE_JWKS": [key.as_dict(private=True)],
            # As for a client of another company: people are asked.
            "TRUSTED_DOMAINS": [],
        },
    }
)
with app.app_context():
    from canaille.app import models
    from canaille.backends import Backend

    person = models.User(
        user_name="jane",
        given_name="Jane",
        family_name="Doe",
        formatted_name="Jane Doe",
        emails=["jane@canaille.example"],
        password="a long password for Jane",
    )
    Backend.instance.save(person)
    client = models.Client(
        client_id=client_id,
        client_secret=client_secret,
        client_name="Chatelaine",
        client_uri="https://chatelaine.example",
        redirect_uris=[redirect_uri],
        post_logout_redirect_uris=[post_logout_redirect_uri],
        grant_types=["authorization_code"],
        response_types=["code"],
        scope=["openid", "profile", "email", "groups"],
        token_endpoint_auth_method="client_secret_basic",
    )
    Backend.instance.save(client)
    client.audience = [client]
    Backend.instance.save(client)

server = make_server("127.0.0.1", int(port), app, threaded=True)
print("ready", flush=True)
server.serve_forever()

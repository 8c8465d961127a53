"""django-oauth-toolkit (https://django-oauth-toolkit.readthedocs.io), the provider of many a Django site, with two
people and one client.

Usage: serve_django.py PORT CLIENT_ID CLIENT_SECRET REDIRECT_URI POST_LOGOUT_REDIRECT_URI
Keeps everything in a folder that goes away with it; says `ready` when it listens.
"""

import signal
import sys
import tempfile

import django
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.conf import settings
from django.core.management import call_command
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

LOGIN = """{% extends "oauth2_provider/base.html" %}
{% block content %}
<form id="login" method="post">{% csrf_token %}{{ form.as_p }}<button>Log in</button></form>
{% endblock %}
"""
# Without the package's static files, which nobody serves here.
BASE = '<!DOCTYPE html><title>Django</title><link rel="icon" href="data:,">{% block content %}{% endblock %}'

port, client_id, client_secret, redirect_uri, post_logout_redirect_uri = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def configure(folder):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    settings.configure(
        SECRET_KEY="only for this story",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        # A slow hash would only make the story slow.
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGIN_URL="/accounts/login/",
        USE_TZ=True,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        # Tables as the models are now, without the way there.
        MIGRATION_MODULES={name: None for name in ["auth", "contenttypes", "sessions", "oauth2_provider"]},
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": f"{folder}/db.sqlite3"}},
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "context_processors": ["django.template.context_processors.request"],
                    "loaders": [
                        (
                            "django.template.loaders.locmem.Loader",
                            {"registration/login.html": LOGIN, "oauth2_provider/base.html": BASE},
                        ),
                        "django.template.loaders.app_directories.Loader",
                    ],
                },
            }
        ],
        # What is not here is as the package has it: people are always asked, PKCE is required, no `iss` in the answer.
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_RSA_PRIVATE_KEY": key.decode(),
            "OIDC_RP_INITIATED_LOGOUT_ENABLED": True,
            "OAUTH2_VALIDATOR_CLASS": f"{__name__}.validator",
            "SCOPES": {
                "openid": "Who you are",
                "profile": "Your name",
                "email": "Your address",
                "groups": "Your groups",
            },
        },
    )
    django.setup()


def fill():
    from django.contrib.auth.models import Group, User
    from oauth2_provider.models import Application

    call_command("migrate", run_syncdb=True, verbosity=0)
    for name, last_name, groups in [("jane", "Doe", ["staff", "wiki editors"]), ("kim", "Poe", ["guests"])]:
        user = User.objects.create_user(
            name,
            f"{name}@django.example",
            f"a long password for {name}",
            first_name=name.title(),
            last_name=last_name,
        )
        user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    client = Application(
        name="Chatelaine",
        client_id=client_id,
        client_secret=client_secret,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        algorithm=Application.RS256_ALGORITHM,
        redirect_uris=redirect_uri,
        post_logout_redirect_uris=post_logout_redirect_uri,
    )
    client.full_clean()
    client.save()


def views():
    """What can only be imported when there are settings."""
    from django.contrib.auth.views import LoginView
    from django.core.wsgi import get_wsgi_application
    from django.urls import include, path
    from oauth2_provider.oauth2_validators import OAuth2Validator

    class Validator(OAuth2Validator):
        oidc_claim_scope = OAuth2Validator.oidc_claim_scope | {"groups": "groups"}

        def get_additional_claims(self):
            return {
                "name": lambda request: request.user.get_full_name(),
                "email": lambda request: request.user.email,
                "email_verified": lambda request: True,
                "groups": lambda request: [group.name for group in request.user.groups.order_by("name")],
            }

    urls = [
        path("accounts/login/", LoginView.as_view()),
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
    ]
    return Validator, urls, get_wsgi_application()


with tempfile.TemporaryDirectory(prefix="django-") as folder:
    configure(folder)
    fill()
    validator, urlpatterns, application = views()
    server = ThreadedWSGIServer(("127.0.0.1", int(port)), WSGIRequestHandler)
    server.set_app(application)
    print("ready", flush=True)
    server.serve_forever()

"""Django, saying what it read."""
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import re_path

settings.configure(ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, SECRET_KEY="x", LOGGING_CONFIG=None)
django.setup()


def said(word):
    print(word, flush=True)
    return HttpResponse(word)


def secret(request):
    return said("forbidden")


def other(request):
    return said("forbidden" if request.method == "DELETE" else "open")


urlpatterns = [re_path(r"^secret(/.*)?$", secret), re_path(r"", other)]


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


class Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


server = make_server("127.0.0.1", int(sys.argv[1]), get_wsgi_application(), Threads, Quiet)
sys.stderr = open("/dev/null", "w")
print("listening", flush=True)
server.serve_forever()

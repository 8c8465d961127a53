"""Flask, saying what it read."""
import logging
import sys

from flask import Flask, request

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY", "MOVE", "PROPFIND", "QUERY", "PURGE"]
app = Flask(__name__)
logging.getLogger("werkzeug").disabled = True


def said(word):
    print(word, flush=True)
    return word


@app.route("/secret", methods=METHODS)
@app.route("/secret/", methods=METHODS)
@app.route("/secret/<path:rest>", methods=METHODS)
def secret(rest=""):
    return said("forbidden")


@app.route("/", methods=METHODS)
@app.route("/<path:rest>", methods=METHODS)
def other(rest=""):
    return said("forbidden" if request.method == "DELETE" else "open")


print("listening", flush=True)
sys.stderr = open("/dev/null", "w")
app.run(port=int(sys.argv[1]), threaded=True)

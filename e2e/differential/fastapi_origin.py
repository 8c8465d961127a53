"""FastAPI behind uvicorn, saying what it read."""
import sys

import uvicorn
from fastapi import FastAPI, Request

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY", "MOVE", "PROPFIND", "QUERY", "PURGE"]
app = FastAPI()


def said(word):
    print(word, flush=True)
    return word


@app.api_route("/secret", methods=METHODS)
@app.api_route("/secret/{rest:path}", methods=METHODS)
async def secret(request: Request):
    return said("forbidden")


@app.api_route("/{rest:path}", methods=METHODS)
async def other(request: Request):
    return said("forbidden" if request.method == "DELETE" else "open")


print("listening", flush=True)
uvicorn.run(app, port=int(sys.argv[1]), log_level="critical")

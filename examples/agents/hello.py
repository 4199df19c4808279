#!/usr/bin/env python3
"""The smallest useful agent: one JSON object a line, the job comes in on stdin, events and the result go out."""
import json
import sys


def send(type_, **payload):
    print(json.dumps({"type": type_, "payload": payload}), flush=True)


def event(kind, **body):
    send("job.event", kind=kind, body=body)


job = json.loads(sys.stdin.buffer.readline())["payload"]  # the job.start line
given = job.get("input") or {}
if not isinstance(given, dict):
    send("job.error", code="INVALID_REQUEST", message='the input must be an object such as {"name": "Ada"}')
    sys.exit()

name = given.get("name", "world")
event("log", level="info", message=f"greeting {name}")
event("progress", current=1, total=1, units="greetings")
send("job.result", result={"greeting": f"Hello, {name}!"})

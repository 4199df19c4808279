#!/usr/bin/env python3
"""Counts down and stops at once when it is cancelled. Input {"from": 5, "interval": 1}, both optional."""
import json, os, sys, threading

output, cancelled = threading.Lock(), threading.Event()

def send(type_, **payload):
    with output:  # both threads write
        print(json.dumps({"type": type_, "payload": payload}), flush=True)

def end(type_, **payload):  # by the main thread only, so that there is one end
    send(type_, **payload)
    os._exit(0)  # not sys.exit(): the other thread is blocked in sys.stdin, and CPython aborts over that

def listen():
    for message in map(json.loads, sys.stdin.buffer):
        if message["type"] == "job.cancel":
            cancelled.set()
        elif message["type"] == "ping":
            send("pong", nonce=message["payload"]["nonce"])

given = json.loads(sys.stdin.buffer.readline())["payload"].get("input") or {}  # of the job.start line
start, interval = (given.get("from", 5), given.get("interval", 1)) if isinstance(given, dict) else (None, None)
if type(start) is not int or not 0 <= start <= 1000 or type(interval) not in (int, float) or not 0 <= interval <= 60:
    end("job.error", code="INVALID_REQUEST", message="from must be 0 to 1000, interval 0 to 60 (seconds)")
threading.Thread(target=listen, daemon=True).start()
for left in range(start, 0, -1):
    send("job.event", kind="progress", body={"current": start - left, "total": start, "message": "%d to go" % left})
    if cancelled.wait(interval):
        end("job.error", code="CANCELLED", message="cancelled with %d to go" % left)
end("job.result", result={"counted": start})

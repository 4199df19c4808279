#!/usr/bin/env python3
"""Runs agents as the daemon would and checks what they write. Standard library only.

    check.py                                        all checks of the agents in this directory
    check.py AGENT [INPUT [DIRECTORY]]              one run of one agent, INPUT being JSON; prints what it writes
    --sh "busybox sh"                               run *.sh agents with this shell instead of their first line

The last line is `N passed, N failed`; the exit code is 1 if anything failed.
"""
import argparse
import base64
import json
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
LINE_BYTES, CHUNK_BYTES, INLINE_BYTES = 1 << 20, 512 << 10, 900 << 10
NUMBER, OBJECT = (int, float), dict
KINDS = {  # field: type; a field that ends in "?" may be left out
    "log": {"level": str, "message": str},
    "thought": {"text": str},
    "tool_call": {"tool": str, "args": object, "call_id": str},
    "tool_result": {"call_id": str, "result?": object, "error?": OBJECT},
    "status": {"phase": str, "message?": str},
    "metric": {"name": str, "value": NUMBER, "unit?": str, "dimensions?": OBJECT},
    "artifact_ref": {"uri": str, "content_type": str, "byte_size?": int, "sha256?": str},
    "progress": {"current": NUMBER, "total?": NUMBER, "units?": str, "message?": str},
    "result_chunk": {"data": str, "encoding": str, "more?": bool},
    "trace_span": {"span_id": str, "name": str, "parent_span_id?": str, "start_at?": str, "end_at?": str, "attributes?": OBJECT},
}
UNPRIVILEGED = 65534  # as root nothing is unreadable: agents then run as nobody
passed = failed = 0


def check(what, good, detail=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    if not good:
        print("FAIL %s: %.2000s" % (what, detail))
    return good


class Run:
    """One job: starts the agent, collects its lines, knows how it ended."""

    def __init__(self, agent, job_input, cwd, shell=None, env=None):
        command = ([*shlex.split(shell), agent] if shell and agent.endswith(".sh") else [agent])
        clean = {key: os.environ[key] for key in ("PATH", "LANG", "TZ") if key in os.environ}
        clean.update({"HOME": cwd, "TMPDIR": tempfile.gettempdir(), "ARCP_JOB_ID": "job_check", **(env or {})})
        self.errors = tempfile.TemporaryFile()
        self.lines, self.last_line_at, self.seen = [], None, threading.Condition()
        self.process = subprocess.Popen(
            command, cwd=cwd, env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            start_new_session=True, preexec_fn=(lambda: os.setuid(UNPRIVILEGED)) if os.getuid() == 0 else None)
        self.send("job.start", job_id="job_check", agent="check@1.0.0", attempt=1, fencing_token="f\"{1",
                  lease={"fs.read": ["path", "a/**"], "path": ["lease\\"]}, input=job_input, trace_id="0" * 32,
                  limits={"line_bytes": LINE_BYTES, "chunk_bytes": CHUNK_BYTES, "inline_result_bytes": INLINE_BYTES})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.seen:
                self.lines.append(line)
                self.last_line_at = time.monotonic()
                self.seen.notify_all()
        with self.seen:
            self.seen.notify_all()

    def send(self, type_, **payload):
        try:
            self.process.stdin.write(json.dumps({"type": type_, "payload": payload}).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def wait_for(self, text, seconds):
        """Until a line contains `text`; False if that never happens."""
        with self.seen:
            return self.seen.wait_for(lambda: any(text in line for line in self.lines), seconds)

    def end(self, seconds=60):
        """Until stdout is closed and the process is gone, as the daemon does; then sends SIGKILL to its group."""
        self.reader.join(seconds)
        self.hung = self.reader.is_alive()
        try:
            self.code = self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.hung = True
        self.left_over = group_lives(self.process.pid)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        if self.hung:
            self.code = self.process.wait()
        self.errors.seek(0)
        self.stderr = self.errors.read().decode("utf-8", "replace")
        self.process.stdin.close()
        return self


def group_lives(group, grace=0.5):
    """Whether processes of a group are left once they had a moment to go; dead ones that nobody collected are none."""
    until = time.monotonic() + grace
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        states = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], stdout=subprocess.PIPE, check=False).stdout.decode()
        if not any(row.split()[0] == str(group) and row.split()[1][0] != "Z" for row in states.splitlines()):
            return False
        time.sleep(0.02)
    return True


def fields_wrong(fields, body):
    for name, kind in fields.items():
        optional, name = name.endswith("?"), name.rstrip("?")
        if name not in body:
            if not optional:
                return "%s is missing" % name
        elif not isinstance(body[name], kind) or isinstance(body[name], bool) and kind not in (bool, object):
            return "%s is %r" % (name, body[name])
    return None


def verify(name, run):
    """Checks shape and order of everything that the agent wrote. Returns (messages, streamed result or None)."""
    messages, data, closed, wrong, current = [], b"", False, [], 0
    for line in run.lines:
        try:
            text = line.decode("utf-8")
            message = json.loads(text, parse_constant=lambda word: wrong.append("not JSON: " + word))
            json.dumps(message, ensure_ascii=False).encode("utf-8")  # no lone surrogates either
            kind, payload = message["type"], message["payload"]
        except (ValueError, KeyError, TypeError) as error:
            wrong.append("%r in %.200r" % (error, line))
            continue
        messages.append(message)
        if not line.endswith(b"\n") or len(line) > LINE_BYTES or not isinstance(payload, dict):
            wrong.append("bad line %.200r" % line)
        elif kind == "job.event":
            body, event = payload.get("body"), payload.get("kind")
            if not isinstance(body, dict) or event not in KINDS and not str(event).startswith("x-"):
                wrong.append("unknown kind in %.200r" % line)
                continue
            problem = fields_wrong(KINDS.get(event, {}), body)
            if problem:
                wrong.append("%s: %s" % (event, problem))
            elif event == "progress":
                if not 0 <= body["current"] <= body.get("total", math.inf) or body["current"] < current:
                    wrong.append("progress %r after %r" % (body, current))
                current = body["current"]
            elif event == "result_chunk":
                if closed:
                    wrong.append("a chunk after the last one")
                utf8 = body["encoding"] == "utf8"
                piece = body["data"].encode() if utf8 else base64.b64decode(body["data"], validate=True)
                if len(piece) > CHUNK_BYTES:
                    wrong.append("a chunk of %d bytes" % len(piece))
                data, closed = data + piece, not body.get("more", True)
        elif kind == "job.result":
            inline = "result" in payload
            streamed = any(m["payload"].get("kind") == "result_chunk" for m in messages)
            if inline == streamed:
                wrong.append("a result must be inline or streamed: %.200r" % line)
            if inline and len(json.dumps(payload["result"], ensure_ascii=False).encode()) > INLINE_BYTES:
                wrong.append("the inline result is too large")
        elif kind == "job.error":
            if not isinstance(payload.get("message"), str) or not isinstance(payload.get("code", ""), str):
                wrong.append("bad job.error %.200r" % line)
        elif kind not in ("agent.hello", "ping", "pong", "op.request"):
            wrong.append("unknown type %r" % kind)
    ends = [index for index, m in enumerate(messages) if m["type"] in ("job.result", "job.error")]
    check(name + ": every line is well-formed", not wrong, "; ".join(wrong[:5]))
    check(name + ": ends exactly once, last", ends == [len(messages) - 1], "%r of %d" % (ends, len(messages)))
    check(name + ": exits with 0, in time", run.code == 0 and not run.hung, "code %r, hung %r" % (run.code, run.hung))
    return messages, data if any(m["payload"].get("kind") == "result_chunk" for m in messages) else None


def bodies(messages, kind):
    return [m["payload"]["body"] for m in messages if m["payload"].get("kind") == kind]


def write(folder, name, content):
    path = os.path.join(os.fsencode(folder), name if isinstance(name, bytes) else name.encode())
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def weird_tree(folder):
    """Makes it; returns the (files, lines) that a report must count; one file more is unreadable."""
    counted = [
        ("plain.rs", b"fn main() {}\n// TODO: first\n// nothing TODOX here\n"),
        ("a space.py", b"x = 1  # FIXME later | not `now`\nno newline at the end"),
        ('quo"te\'s \\ back.md', b"# title\n"),
        ("gr\u00fc\u00dfe \u2603 \U0001f980.rs", "// TODO: \u00fcml\u00e4ut \u2603\n".encode()),
        ("new\nline.c", b"int x; /* TODO newline */\n"),
        ("\nfirst\n/\nlast\n", b"1\n"),
        ("colon/:x.txt", b"1\n2\n"),
        ("tab\there\x01\x1f.txt", b"t\n"),
        ("-rf", b"dash\n"),
        ("a=b", b"equals\n"),
        ("%s%n$(date)`date`;.sh", b"exit\n"),
        ("pi|pe.json", b"{}\n"),
        ("empty.toml", b""),
        ("invalid-text.txt", b"\xff\xfe caf\xe9 TODO \xe9t\xe9\nok\n"),
        ("binary.bin", b"\x7fELF\0\0\1TODO in a binary\n" * 10),
        ("crlf.txt", b"one TODO: crlf\r\ntwo\r\n"),
        ("long.txt", b"TODO " + b"\xc3\xa9" * 3000 + b"\n"),
        ("deep/er/and/deeper/x.go", b"package x\n"),
        ("zz/notes.txt", b"".join(b"TODO number %d\n" % i for i in range(300))),
        (b"inv\xe4lid-name.rs", b"// TODO in a file with a strange name\n"),
    ]
    files = lines = 0
    for name, content in counted:
        try:
            write(folder, name, content)
        except OSError:  # a file system that wants UTF-8
            continue
        files += 1
        lines += 0 if b"\0" in content else content.count(b"\n") + (content[-1:] not in (b"\n", b""))
    write(folder, "locked.rs", b"secret TODO\n")
    for skipped in (".git", "target", "node_modules", "__pycache__", ".venv", ".hidden", "deep/node_modules"):
        write(folder, skipped + "/skipped.rs", b"// TODO skipped\n")
    os.symlink("/", os.path.join(folder, "root-link"))
    os.symlink("plain.rs", os.path.join(folder, "file-link.rs"))
    os.mkfifo(os.path.join(folder, "pipe"))
    os.chmod(os.path.join(folder, "locked.rs"), 0)
    return files, lines


def check_tree_report(agent, options):
    def run(what, job_input, cwd, seconds=60):
        name = "%s, %s" % (os.path.basename(agent), what)
        job = Run(agent, job_input, cwd, options.sh).end(seconds)
        messages, data = verify(name, job)
        check(name + ": leaves no process behind", not job.left_over)
        return name, job, messages, data

    def refused(what, job_input, cwd):
        name, _, messages, _ = run(what, job_input, cwd)
        last = messages[-1] if messages else {"type": None, "payload": {}}
        check(name + ": refused as INVALID_REQUEST, and nothing else is said", len(messages) == 1
              and last["type"] == "job.error" and last["payload"].get("code") == "INVALID_REQUEST"
              and len(last["payload"]["message"]) > 20, messages)

    def succeeded(name, messages, data, files):
        check(name + ": succeeds", messages and messages[-1]["type"] == "job.result", messages[-1:])
        check(name + ": starts with a log event", messages and messages[0]["payload"].get("kind") == "log",
              messages[:1])
        metrics = bodies(messages, "metric")
        check(name + ": one cost metric", len(metrics) == 1 and metrics[0]["name"] == "cost.scan"
              and metrics[0]["unit"] == "USD" and abs(metrics[0]["value"] - files * 0.0001) < 1e-9, metrics)
        progress = bodies(messages, "progress")
        check(name + ": at most 100 progress events, to the end", len(progress) <= 100 and
              (not files or progress and progress[-1]["current"] == progress[-1]["total"] == files), progress[-1:])
        return (data or b"").decode("utf-8", "strict")

    folder = tempfile.mkdtemp(prefix="arcpd check ")
    try:
        weird = os.path.join(folder, "weird ' \" \\ \u00fc")
        counted, lines = weird_tree(weird)
        write(folder, "empty/.git/x", b"TODO\n")
        write(folder, "file.txt", b"x\n")
        write(folder, "with/a.rs", b"// TODO: one\n\n")
        write(folder, "with/path/b.rs", b"fn b() {}\n")
        os.symlink("/", os.path.join(folder, "way-out"))
        big = os.path.join(folder, "big")
        for number in range(options.files):
            write(big, "d%03d/f%d.rs" % (number % 100, number), b"fn f() {}\n// TODO: something\n" * 20)
        if os.getuid() == 0:
            for where, folders, names in os.walk(folder):
                for name in [".", *folders, *names]:
                    os.lchown(os.path.join(where, name), UNPRIVILEGED, UNPRIVILEGED)
        os.chmod(os.path.join(folder, "with"), 0o700)

        name, job, messages, data = run("weird names", {"top": 3}, weird)
        report = succeeded(name, messages, data, counted + 1)
        summary = messages[-1]["payload"].get("summary", "")
        check(name + ": counts", summary.startswith("%d files, %d lines, " % (counted, lines))
              and summary.endswith("1 unreadable"), (summary, counted, lines))
        check(name + ": one warning, for the locked file", ["locked.rs" in body["message"] for body in
              bodies(messages, "log") if body["level"] == "warn"] == [True], bodies(messages, "log"))
        check(name + ": finds the note", "`plain.rs:2`" in report and "TODO: first" in report, report)
        check(name + ": finds the note in a file with blanks", "`a space.py:1`" in report and "\\|" in report, report)
        check(name + ": unicode survives", "gr\u00fc\u00dfe \u2603 \U0001f980.rs:1" in report
              and "\u00fcml\u00e4ut" in report, report)
        check(name + ": the newline in a name breaks nothing", "`new?line.c:1`" in report, report)
        check(name + ": skips what it should", "skipped" not in report and "TODOX" not in report
              and "in a binary" not in report and "secret" not in report and "link" not in report, report)
        cells = {row.replace("\\|", "").count("|") for row in report.splitlines() if row.startswith("|")}
        check(name + ": no name breaks a table", cells <= {3, 4, 5} and all(
            row == "" or row[0] in "|#" or row.endswith("unreadable") for row in report.splitlines()), report)
        check(name + ": notes are capped", report.count("TODO number") < 110 and report.count("\n| `") < 130)
        check(name + ": several chunks", len(bodies(messages, "result_chunk")) > 1)
        check(name + ": nothing on stderr", not job.stderr, job.stderr)

        for what, job_input in (("no input", None), ("empty input", {}), ("dot", {"path": "."})):
            name, _, messages, data = run(what, job_input, os.path.join(folder, "with"))
            report = succeeded(name, messages, data, 2)
            check(name + ": counts", "2 files, 3 lines, 24 bytes, 0 unreadable" in report, report)
        for what, path, files in (("relative path", "with/path", 1), ("odd path", "with/../with//path/.", 1),
                                  ("quoted path", os.path.basename(weird), counted + 1),
                                  ("absolute path", os.path.join(folder, "with"), 2), ("empty tree", "empty", 0)):
            name, _, messages, data = run(what, {"other": [{"path": "no", "top": [0]}], "path": path, "top": 1}, folder)
            report = succeeded(name, messages, data, files)
            largest = report.split("## Largest")[-1].split("##")[0].count("\n| `")
            check(name + ": top is obeyed", largest == min(files, 1), report)
        for what, job_input in (
                ("missing path", {"path": "nowhere"}), ("a file", {"path": "file.txt"}), ("empty path", {"path": ""}),
                ("above", {"path": ".."}), ("root", {"path": "/"}), ("out by a link", {"path": "way-out"}),
                ("path is a number", {"path": 1}), ("path is null", {"path": None}),
                ("path is an object", {"path": {"a": "b"}}),
                ("top is 0", {"top": 0}), ("top is text", {"top": "10"}), ("top is a fraction", {"top": 1.5}),
                ("top is huge", {"top": 10 ** 30}), ("top is true", {"top": True}), ("top is negative", {"top": -1}),
                ("input is text", "with"), ("input is a list", ["path", "with"]), ("input is a number", 7),
                ("a hostile path", {"path": "$(touch x)`touch y`'\"\\;\n\u0001\u00e9"})):
            refused(what, job_input, folder)

        for what, wait_text in (("cancel at once", None), ("cancel in the middle", b"progress")):
            name = "%s, %s" % (os.path.basename(agent), what)
            job = Run(agent, {}, big, options.sh)
            if wait_text:
                check(name + ": gets there", job.wait_for(wait_text, 60))
                job.send("ping", nonce="n-1")
                check(name + ": answers a ping", job.wait_for(b'"n-1"', 5))
            started = time.monotonic()
            job.send("job.cancel", reason='because "x"', deadline="2030-01-01T00:00:00Z")
            job.end(20)
            took = (job.last_line_at or math.inf) - started
            messages, _ = verify(name, job)
            last = messages[-1] if messages else {"payload": {}}
            check(name + ": ends with CANCELLED", last["payload"].get("code") == "CANCELLED", last)
            check(name + ": within 2 s", took < 2, "%.3f s" % took)
            check(name + ": leaves no process behind", not job.left_over)
            print("%s: ended %.0f ms after the cancel, %d lines" % (name, took * 1000, len(messages)))
        started = time.monotonic()
        name, job, messages, data = run("%d files" % options.files, {}, big, 300)
        took = time.monotonic() - started
        succeeded(name, messages, data, options.files)
        print("%s: %.1f s, %d messages, %d bytes of report" % (name, took, len(messages), len(data or b"")))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_hello(agent, options):
    for job_input, greeting in ((None, "Hello, world!"), ({}, "Hello, world!"), ({"name": "Ada"}, "Hello, Ada!"),
                                ({"name": "\u00fc \u2603 \U0001f980 \"\n"}, "Hello, \u00fc \u2603 \U0001f980 \"\n!")):
        name = "hello.py, %s" % json.dumps(job_input)
        job = Run(agent, job_input, tempfile.gettempdir(), options.sh).end()
        messages, _ = verify(name, job)
        kinds = [message["payload"].get("kind", message["type"]) for message in messages]
        check(name + ": log, progress, result", kinds == ["log", "progress", "job.result"], kinds)
        check(name + ": greets", messages[-1]["payload"].get("result") == {"greeting": greeting}, messages[-1:])
    name = "hello.py, text as input"
    messages, _ = verify(name, Run(agent, "Ada", tempfile.gettempdir(), options.sh).end())
    check(name + ": is refused", messages and messages[-1]["payload"].get("code") == "INVALID_REQUEST", messages)


def check_countdown(agent, options):
    name = os.path.basename(agent)
    run = lambda job_input: Run(agent, job_input, tempfile.gettempdir(), options.sh)
    for job_input, total in (({"from": 2}, 2), ({"from": 0}, 0)):
        job = run(job_input).end()
        messages, _ = verify(name, job)
        kinds = [message["payload"].get("kind", message["type"]) for message in messages]
        check(name + ": counts", kinds == ["progress"] * total + ["job.result"], kinds)
        check(name + ": says so", messages and messages[-1]["payload"].get("result") == {"counted": total}, messages)
        check(name + ": exits well", job.code == 0 and not job.stderr and not job.left_over, (job.code, job.stderr))
    for job_input in ({"from": "x"}, {"from": -1}):
        messages, _ = verify(name, run(job_input).end())
        code = messages and messages[-1]["payload"].get("code")
        check("%s, %s: is refused" % (name, job_input), code == "INVALID_REQUEST", messages)
    job = run(None)
    check(name + ": gets there", job.wait_for(b"progress", 10))
    job.send("ping", nonce="n-1")
    check(name + ": answers a ping", job.wait_for(b'"n-1"', 5))
    started = time.monotonic()
    job.send("job.cancel", reason="enough", deadline="2030-01-01T00:00:00Z")
    messages, _ = verify(name, job.end())
    check(name + ": ends with CANCELLED", messages[-1]["payload"].get("code") == "CANCELLED", messages)
    check(name + ": at once", job.last_line_at - started < 0.9, job.last_line_at - started)
    check(name + ": exits well after a cancel", job.code == 0 and not job.stderr and not job.left_over,
          (job.code, job.stderr, job.left_over))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("agent", nargs="?", help="an executable; without it, all checks of the agents here")
    parser.add_argument("input", nargs="?", default="null", help="JSON")
    parser.add_argument("directory", nargs="?", default=".", help="the agent's working directory")
    parser.add_argument("--sh", help="the shell for *.sh agents")
    parser.add_argument("--files", type=int, default=3000, help="size of the large tree")
    parser.add_argument("--only", default="", help="only agents whose name contains this")
    options = parser.parse_args()
    if options.agent:
        cwd = os.path.abspath(options.directory)
        job = Run(os.path.abspath(options.agent), json.loads(options.input), cwd, options.sh).end(600)
        sys.stdout.write(b"".join(job.lines).decode("utf-8", "replace"))
        sys.stderr.write(job.stderr)
        verify(os.path.basename(options.agent), job)
    else:
        for name, checks in (("hello.py", check_hello), ("countdown.py", check_countdown),
                             ("countdown.sh", check_countdown), ("tree_report.py", check_tree_report),
                             ("tree_report.sh", check_tree_report)):
            if options.only in name:
                checks(os.path.join(HERE, name), options)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Reports on a source tree. Input {"path": ".", "top": 10}, both optional; path must lie in the working directory."""
import json, os, re, sys, threading, traceback

SKIP = {"target", "node_modules", "__pycache__"}  # and every directory whose name begins with a dot
LANGUAGES = dict(pair.split("=") for pair in """rs=Rust py=Python sh=Shell c=C h=C cc=C++ cpp=C++ go=Go java=Java
    kt=Kotlin cs=C# rb=Ruby js=JavaScript ts=TypeScript md=Markdown json=JSON toml=TOML yml=YAML yaml=YAML""".split())
NOTE = re.compile(rb"\b(?:TODO|FIXME)\b.*")
MAX_NOTES, MAX_WARNINGS, MAX_PROGRESS, CHUNK = 100, 20, 50, 4096
output, files, scanned, failed, sums = threading.Lock(), [], [], [], {}

def send(type_, **payload):
    with output:  # two threads write; the one that ends the job never gives the lock back
        print(json.dumps({"type": type_, "payload": payload}, ensure_ascii=False), flush=True)
        if type_ in ("job.result", "job.error"):
            os._exit(0)  # not sys.exit(): listen() is blocked in sys.stdin, and CPython aborts over that

def event(kind, **body): send("job.event", kind=kind, body=body)
def fail(code, message): send("job.error", code=code, message=message, retryable=False)

def listen():  # a thread of its own, so that a cancel gets through whatever the scan is doing
    for message in map(json.loads, sys.stdin.buffer):
        if message["type"] == "job.cancel":
            fail("CANCELLED", "cancelled: %s" % message["payload"].get("reason"))
        elif message["type"] == "ping":
            send("pong", nonce=message["payload"].get("nonce"))

def warn(error):
    failed.append(error)
    if len(failed) <= MAX_WARNINGS:
        event("log", level="warn", message="cannot read %s: %s" % (error.filename, error.strerror))

def scan(path):  # (language, lines, bytes, notes)
    with open(path, "rb") as file:
        size, binary = os.fstat(file.fileno()).st_size, b"\0" in file.read(8192)
        file.seek(0, os.SEEK_END if binary else os.SEEK_SET)
        number, notes = 0, []
        for number, line in enumerate(iter(lambda: file.readline(1 << 20), b""), 1):
            notes += [(number, note.decode("utf-8", "replace").strip()[:120]) for note in NOTE.findall(line)]
    return "(binary)" if binary else LANGUAGES.get(path.rpartition(".")[2].lower(), "Other"), number, size, notes

def table(title, head, rows):  # texts become code spans, which no file name can break out of
    quote = lambda text: "`%s`" % re.sub("[\0-\x1f\x7f-\x9f\ud800-\udfff`]", "?", text).replace("|", "\\|")
    cells = [[quote(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    lines = ["| %s |" % " | ".join(map(str, row)) for row in [head, ["---"] * len(head)] + cells]
    return "\n## %s\n\n%s\n" % (title, "\n".join(lines) if rows else "None.")

sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # a file name need not be UTF-8, a message must
sys.excepthook = lambda *error: (traceback.print_exception(*error), fail("INTERNAL_ERROR", repr(error[1])))
given = json.loads(sys.stdin.buffer.readline())["payload"].get("input") or {}  # of the job.start line
threading.Thread(target=listen, daemon=True).start()
root, top = (given.get("path", "."), given.get("top", 10)) if isinstance(given, dict) else (None, None)
if (type(top) is not int or not 1 <= top <= 1000 or type(root) is not str or not os.path.isdir(root)
        or os.path.relpath(os.path.realpath(root)).split(os.sep)[0] == ".."):
    fail("INVALID_REQUEST", "path must be a directory in the working directory, top 1 to 1000: %.200s" % ascii(given))
event("log", level="info", message="reporting on %s" % root)
for folder, folders, names in os.walk(root, onerror=warn):
    folders[:] = sorted(name for name in folders if name not in SKIP and not name.startswith("."))
    files += [p for p in sorted(os.path.join(folder, n) for n in names) if os.path.isfile(p) and not os.path.islink(p)]
for number, path in enumerate(files, 1):
    try:
        scanned.append((os.path.relpath(path, root), *scan(path)))
    except OSError as error:
        warn(error)
    if number % (len(files) // MAX_PROGRESS + 1) == 0 or number == len(files):
        event("progress", current=number, total=len(files), units="files", message=path)
event("metric", name="cost.scan", value=round(len(files) * 0.0001, 4), unit="USD")
for _, language, lines, size, _ in scanned:
    sums[language] = [old + new for old, new in zip(sums.get(language, (0, 0, 0)), (1, lines, size))]
summary = "%d files, %d lines, %d bytes, %d unreadable" % (*map(sum, zip((0, 0, 0), *sums.values())), len(failed))
notes = [("%s:%d" % (path, line), text) for path, *_, found in scanned for line, text in found]
largest = sorted((row[:4] for row in scanned), key=lambda row: -row[3])[:top]
report = "# Source tree report\n\n%s\n" % summary
report += table("Languages", ["language", "files", "lines", "bytes"], sorted((name, *sums[name]) for name in sums))
report += table("Largest files", ["file", "language", "lines", "bytes"], largest)
report += table("Notes: %d, the first %d" % (len(notes), MAX_NOTES), ["where", "note"], notes[:MAX_NOTES])
for at in range(0, len(report), CHUNK):
    event("result_chunk", data=report[at:at + CHUNK], encoding="utf8", more=at + CHUNK < len(report))
send("job.result", summary=summary)

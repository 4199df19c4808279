"""What holds for every frame that a runtime sends, whatever the scenario."""

from __future__ import annotations

from dataclasses import dataclass, field

from recorder import Frame, is_terminal, job_id_of

NUMBERED = ("job.event", "job.result", "job.error")
OPENING = ("job.accepted", "job.subscribed")


@dataclass
class Carried:
    """What a resumed connection inherits from the connections before it."""

    last_event_seq: int = 0
    open_jobs: set[str] = field(default_factory=set)
    ended_jobs: set[str] = field(default_factory=set)


def carry_over(frames: list[Frame], before: Carried, last_event_seq: int) -> Carried:
    """The state of the session as a client knows it that has processed everything up to `last_event_seq`."""
    seen = before.open_jobs | before.ended_jobs
    ended = {job for job in before.ended_jobs}
    for frame in frames:
        job = job_id_of(frame)
        if job is None:
            continue
        seen.add(job)
        if frame["type"] in OPENING:
            ended.discard(job)
        elif is_terminal(frame) and frame.get("event_seq", 0) <= last_event_seq:
            ended.add(job)
    return Carried(last_event_seq, seen - ended, ended)


def violations(frames: list[Frame], carried: Carried) -> list[str]:
    """Everything in one connection's frames that breaks the protocol, in words."""
    return _envelope_violations(frames) + _numbering_violations(frames, carried) + _job_violations(frames, carried)


def _envelope_violations(frames: list[Frame]) -> list[str]:
    found: list[str] = []
    session_id = frames[0].get("session_id") if frames else None
    for frame in frames:
        name = frame.get("type", "a frame without type")
        if frame.get("arcp") != "1.1":
            found.append(f"{name}: arcp is {frame.get('arcp')!r}")
        if not isinstance(frame.get("id"), str) or not frame["id"]:
            found.append(f"{name}: no id")
        if not isinstance(frame.get("session_id"), str) or not frame["session_id"]:
            found.append(f"{name}: no session_id")
        elif frame["session_id"] != session_id:
            found.append(f"{name}: session_id {frame['session_id']!r} in session {session_id!r}")
        if not isinstance(frame.get("payload"), dict):
            found.append(f"{name}: payload is not an object")
    return found


def _numbering_violations(frames: list[Frame], carried: Carried) -> list[str]:
    found: list[str] = []
    expected = carried.last_event_seq + 1
    previous_of_job: dict[str, str] = {}
    for frame in frames:
        name = frame.get("type")
        job = job_id_of(frame)
        seq = frame.get("event_seq")
        if seq is None:
            refusal = name == "job.error" and previous_of_job.get(job or "") == "job.accepted"
            if name in NUMBERED and not refusal:
                found.append(f"{name}: no event_seq")
        elif name not in NUMBERED:
            found.append(f"{name}: carries event_seq {seq!r}")
        elif seq != expected:
            found.append(f"{name}: event_seq {seq!r} where {expected} was due")
            expected = seq + 1 if isinstance(seq, int) else expected
        else:
            expected += 1
        if job is not None:
            previous_of_job[job] = str(name)
    return found


def _job_violations(frames: list[Frame], carried: Carried) -> list[str]:
    found: list[str] = []
    open_jobs = set(carried.open_jobs)
    ended_jobs = set(carried.ended_jobs)
    for frame in frames:
        job = job_id_of(frame)
        if job is None:
            if str(frame.get("type", "")).startswith("job."):
                found.append(f"{frame['type']}: no job_id")
            continue
        if frame["type"] in OPENING:
            open_jobs.add(job)
            ended_jobs.discard(job)
            continue
        if job in ended_jobs:
            found.append(f"{frame['type']} of {job} after its terminal frame")
        elif job not in open_jobs:
            found.append(f"{frame['type']} of {job} before its job.accepted")
        if is_terminal(frame):
            open_jobs.discard(job)
            ended_jobs.add(job)
    return found

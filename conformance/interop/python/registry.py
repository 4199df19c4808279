"""The list of scenarios; modules in `scenarios` add to it with a decorator."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from harness import World

Body = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    name: str
    summary: str
    body: Body
    transports: tuple[str, ...]


SCENARIOS: list[Scenario] = []


def scenario(*transports: str) -> Callable[[Body], Body]:
    """Registers an async function as a scenario; for both transports unless told."""

    def register(body: Body) -> Body:
        summary = (body.__doc__ or "").strip()
        assert summary, f"{body.__name__} needs a docstring"
        assert all(known.name != body.__name__ for known in SCENARIOS), f"two scenarios named {body.__name__}"
        SCENARIOS.append(Scenario(body.__name__, summary, body, transports or ("ws", "stdio")))
        return body

    return register

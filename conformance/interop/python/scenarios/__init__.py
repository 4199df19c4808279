"""Importing a module registers its scenarios; the order here is the order in which they run."""

from scenarios import (  # noqa: F401
    handshake,
    jobs,
    refusals,
    idempotency,
    cancel,
    leases,
    listing,
    subscribe,
    resume,
    liveness,
    results,
)

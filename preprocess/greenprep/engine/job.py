"""What all engines agree on: a function of many jobs, answered in any order, and a job that killed who did it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

__all__ = ["Engine", "KilledJob"]

J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class KilledJob(Generic[J]):
    """A job that took its worker process down each time it was tried."""

    job: J


class Engine(Protocol):
    """Runs a function over many jobs, in whatever order they finish."""

    def run(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[tuple[J, R | KilledJob[J]]]:
        """(job, result) as they come. Raises what `function` raises."""
        ...

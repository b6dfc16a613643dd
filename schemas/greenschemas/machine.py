"""What this machine has: processors for us, and installed packages."""

from __future__ import annotations

import os
from importlib.metadata import PackageNotFoundError, version

__all__ = ["cores", "installed_version"]


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed_version(package: str) -> str:
    """Version of an installed package, or `not installed`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"

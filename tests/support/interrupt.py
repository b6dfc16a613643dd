"""A command stopped by Ctrl-C as a terminal sends it: SIGINT to the command and all processes that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

__all__ = ["interrupted"]

STOPPED = "Stopped. To go on, give the same command again.\n"


def interrupted(program: str, *words: object, when: Callable[[], bool]) -> tuple[int, str]:
    """(exit code, stderr) of `greenprep` or `greentrain`, stopped as soon as `when` is true."""
    code = f"from {program}.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while not when() and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, f"it ended by itself before it could be stopped: {process.communicate()}"
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors

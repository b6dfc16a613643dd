"""What all tests share: Hypothesis without a deadline, because no test here asserts a time; Ctrl-C that is heard; one
priority."""

import os
import signal

from hypothesis import settings

settings.register_profile("greenspace", deadline=None)
settings.load_profile("greenspace")
# A shell that runs the tests in the background lets them, and all that they start, ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# `watch` gives way to other programs. Called in here it would slow all tests that come after it, and their browsers.
if hasattr(os, "nice"):
    own, os.nice = os.nice, lambda by: own(0)

"""What holds for all tests: Hypothesis without a time limit for each example, and Ctrl-C as in a terminal."""

from __future__ import annotations

import signal

from hypothesis import settings

# Machines that test are often busy.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# A shell starts what runs in the background deaf to SIGINT, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

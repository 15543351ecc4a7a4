"""What holds for all tests: Hypothesis without a time limit, Ctrl-C as in a terminal, and small data to train on."""

from __future__ import annotations

import signal

import numpy as np
import pytest
from hypothesis import settings

# Machines that test are often busy.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# A shell starts what runs in the background deaf to SIGINT, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    """50 blurred 8x8 images of two classes."""
    random_state = np.random.default_rng(0)
    classes = np.arange(50) % 2
    images = random_state.integers(0, 128, (50, 1, 8, 8)) + 127 * classes[:, None, None, None]
    path = tmp_path_factory.mktemp("data") / "pictures.npz"
    np.savez(path, images=images.astype(np.uint8), labels=classes)
    return str(path)

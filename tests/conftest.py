"""For all tests: no time limit, Ctrl-C as in a terminal, plugins of one test, small data to train with."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

from elucidiff import plugins

# Machines that test are often busy.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# A shell starts what runs in the background deaf to SIGINT, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def plugins_of_one_test() -> Iterator[None]:
    """Processes of later tests import no plugins that this one named."""
    before = os.environ.get(plugins.VARIABLE)
    yield
    if before is None:
        os.environ.pop(plugins.VARIABLE, None)
    else:
        os.environ[plugins.VARIABLE] = before


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> str:
    """50 blurred 8x8 images of two classes."""
    random_state = np.random.default_rng(0)
    classes = np.arange(50) % 2
    images = random_state.integers(0, 128, (50, 1, 8, 8)) + 127 * classes[:, None, None, None]
    path = tmp_path_factory.mktemp("data") / "pictures.npz"
    np.savez(path, images=images.astype(np.uint8), labels=classes)
    return str(path)

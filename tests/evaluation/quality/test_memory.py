"""10,000 pictures are evaluated in less than 1.5 GiB."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from pathlib import Path

import numpy as np
import torch

import elucidiff.cli.evaluate
from elucidiff.evaluation.quality import Evaluator, open_extractor
from elucidiff.launch.machine import keep_freed_memory
from tests.evaluation.quality.small import reference_of
from tests.peak_memory import peak_memory

keep_freed_memory()
extractor = open_extractor("efficientnet-lite0", device="cpu")
images = torch.randint(0, 256, (64, 3, 32, 32), dtype=torch.uint8)
assert np.array_equal(extractor(images), extractor(images))
generator = np.random.default_rng(0)
rows = [generator.standard_normal((10_000, 1280), dtype=np.float32) for _ in range(2)]
evaluator = Evaluator(extractor, reference_of(rows[1], Path(sys.argv[1])), ["fid", "precision"])
print(evaluator.values(rows[0]))
print(peak_memory() / 2**30)
"""


@pytest.mark.slow
def test_ten_thousand_pictures_in_little_memory(tmp_path: Path) -> None:
    """A network at work, and then all features of images and reference: what all pictures need but reading them."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True)
    peak = float(done.stdout.splitlines()[-1])
    assert 0.3 < peak < 1.5

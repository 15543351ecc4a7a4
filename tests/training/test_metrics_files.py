"""``metrics.jsonl`` and event files: what TensorBoard reads, and what a full disk does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from elucidiff.training.metrics import MetricsLog


def scalars(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(run_dir)).Reload()
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]


def test_tensorboard_reads_what_the_lines_say(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for images in (10, 20, 30):
        log.write(images, {"loss": 1 / images, "loss_by_sigma": {0.123456: images / 8}})
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["images"], line["loss"]) for line in lines] == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert scalars(tmp_path, "loss") == [(10, 0.1), (20, 0.05), (30, 1 / 30)]
    assert scalars(tmp_path, "loss_by_sigma/0.1235") == [(10, 1.25), (20, 2.5), (30, 3.75)]


def test_a_resumed_run_replaces_what_was_written_later(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for images in (10, 20, 30):
        log.write(images, {"loss": 1.0})
    log.close()
    log = MetricsLog(tmp_path, images_seen=10)
    log.write(20, {"loss": 2.0})
    log.close()
    assert scalars(tmp_path, "loss") == [(10, 1.0), (20, 2.0)]
    assert [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").open()] == [1.0, 2.0]


@pytest.mark.parametrize(("values", "file"), [({"loss": 1.0}, "events"), ({"note": "x" * 500}, "metrics.jsonl")])
def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path, values: dict[str, object], file: str) -> None:
    """A limit on the size of files stands in for the full disk; it needs a process of its own."""
    script = (
        "import json, resource, signal, sys\n"
        "from elucidiff.training.metrics import MetricsLog\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "log = MetricsLog(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))\n"
        "try:\n"
        "    for images in range(100): log.write(images, json.loads(sys.argv[2]))\n"
        "except OSError as error: print(error.filename)\n"
        "log.close()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), json.dumps(values)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert file in done.stdout
    assert done.stderr == ""

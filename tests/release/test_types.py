"""The public API has types, and a program that uses it is checked by them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONSUMER = Path(__file__).parent / "consumer.py"


@pytest.mark.slow
def test_a_program_is_accepted_and_its_mistakes_are_found(tmp_path: Path) -> None:
    """By mypy, strict, with no settings but its own, as it sees an installed package."""
    wrong = tmp_path / "wrong.py"
    text = CONSUMER.read_text(encoding="utf-8")
    text = text.replace("ed.Churn(30)", 'ed.Churn("much")').replace("return result.loss", "return result.losses")
    wrong.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    done = subprocess.run(
        [*command, str(CONSUMER), str(wrong)], capture_output=True, text=True, cwd=tmp_path, timeout=600, check=False
    )
    lines = done.stdout.splitlines()
    assert not [line for line in lines if "consumer.py" in line]
    assert any('Argument 1 to "Churn" has incompatible type "str"' in line for line in lines)
    assert any('"TrainingResult" has no attribute "losses"' in line for line in lines)

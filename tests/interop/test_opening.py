"""One way in for models of all formats that say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.interop import nvlabs
from tests.golden_files import GOLDEN, cases


def test_snapshots_and_folders_open_alike(tmp_path: Path) -> None:
    file = GOLDEN / f"{cases('j_pickles')[0]}.pkl"
    snapshot, there = ed.load(file), nvlabs.load(file)
    snapshot.save(tmp_path / "model")
    folder = ed.load(tmp_path / "model")
    for name, value in there.state_dict().items():
        assert torch.equal(snapshot.state_dict()[name], value)
        assert torch.equal(folder.state_dict()[name], value)


def test_what_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("a model")
    with pytest.raises(ValueError, match=r"notes\.txt is no model that says what it is"):
        ed.load(tmp_path / "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"model\.json is missing"):
        ed.load(tmp_path)

"""Training states of the reference: archives of ``torch.save``, written here by PyTorch itself."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from tests.golden_files import cases
from tests.golden_files import load as golden
from tests.interop.test_nvlabs import close
from tests.interop.training_states import state_of


@pytest.mark.parametrize("name", cases("j_pickles"))
def test_a_training_state_is_its_network(name, tmp_path):
    path = state_of(name, tmp_path / "training-state-000001.pt")
    _, tensors = golden(name)
    denoiser = ed.load(path)
    close(denoiser(tensors["x"], tensors["sigma"], tensors.get("class_labels")), tensors["D"])
    assert denoiser.facts["provenance"] == {
        "format": "NVlabs/edm snapshot", "file": "training-state-000001.pt", "network": "net"
    }  # fmt: skip
    with pytest.raises(ValueError, match="no network 'none' in it, only: net, optimizer_state"):
        ed.interop.nvlabs.load(path, key="none")


@pytest.fixture
def state(tmp_path):
    return state_of("j_pickles/ddpmpp", tmp_path / "training-state.pt")


def changed(path: Path, name: str, change) -> Path:
    """A copy whose entry that ends with ``name`` is changed."""
    copy = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as read, zipfile.ZipFile(copy, "w") as write:
        for entry in read.infolist():
            content = read.read(entry)
            write.writestr(entry.filename, change(content) if entry.filename.endswith(name) else content)
    return copy


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("/data/0", lambda content: content[:-4], "another size than it says"),
        ("/data.pkl", lambda content: content.replace(b"ModuleDict", b"ModuleDirt"), "ModuleDirt', which is not"),
        ("/data.pkl", lambda content: content[:-100], "truncated|damaged"),
        ("/byteorder", lambda content: b"big", "little-endian"),
    ],
)  # fmt: skip
def test_damage_is_one_line(state, name, change, message):
    damaged = changed(state, name, change)
    with pytest.raises(ValueError, match=message) as error:
        ed.load(damaged)
    assert str(damaged) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_archive_that_is_cut_off_is_one_line(state):
    state.write_bytes(state.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="training-state"):
        ed.load(state)


def test_other_archives_are_not_taken_for_one(tmp_path):
    path = tmp_path / "weights.pt"
    torch.save({"net": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="no model that says what it is"):
        ed.load(path)

"""Damaged files of other libraries' models: read, or refused in one line that names them."""

from __future__ import annotations

import json
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import elucidiff as ed
from elucidiff.interop import lucidrains, openai, physicsnemo, score_sde
from tests.golden_files import GOLDEN
from tests.interop.diffusers.folders import pipeline
from tests.interop.foreign import FOREIGN, golden, state_dict
from tests.mutations import outcomes


def lucid(path: Path) -> Any:
    case = golden("lucidrains", "x0_cosine")[1]
    return lucidrains.load(path, case["wrapper"], case["unet"], **case["wrapper_settings"])


def adm(path: Path) -> Any:
    return openai.load(path, **golden("openai", "legacy_heads")[1]["flags"])


def song(path: Path) -> Any:
    return score_sde.load(path, golden("score_sde", "ddpmpp_vp")[1]["config"])


def nemo(path: Path) -> Any:
    return physicsnemo.load(path, **golden("physicsnemo", "ddpmpp")[1]["settings"])


READERS: list[tuple[str, Callable[[Path], Any]]] = [
    ("lucidrains/x0_cosine/weights_0", lucid),
    ("openai/legacy_heads/weights_0", adm),
    ("score_sde/ddpmpp_vp/weights", song),
    ("physicsnemo/ddpmpp/weights_0", nemo),
]


@pytest.mark.parametrize(("name", "reader"), READERS)
@pytest.mark.parametrize("old", [False, True])
def test_checkpoints_of_pytorch(name: str, reader: Callable[[Path], Any], old: bool, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    torch.save(state_dict(FOREIGN / f"{name}.safetensors"), path, _use_new_zipfile_serialization=not old)
    # Where the pickle is, and, in the zip form, the directory at the end.
    sound = path.read_bytes()
    places = [*range(0, 4000, 7), *range(max(0, len(sound) - 8000), len(sound), 7)]
    found = outcomes(reader, path, sound, 6, places=places)
    assert found.read + len(found.messages) == 6


def test_settings_beside_the_weights(tmp_path: Path) -> None:
    folder, case, _ = golden("k_diffusion", "plain")
    path = tmp_path / "damaged.safetensors"
    save_file(state_dict(folder / "weights_0.safetensors"), path, metadata={"config": json.dumps(case["config"])})
    sound = path.read_bytes()
    places = list(range(0, 8 + int.from_bytes(sound[:8], "little"), 5))
    found = outcomes(ed.load, path, sound, 40, places=places)
    assert len(found.messages) > 10


@pytest.mark.parametrize(
    ("file", "count"),
    [
        ("unet/config.json", 25),
        ("unet/diffusion_pytorch_model.safetensors", 15),
        ("scheduler/scheduler_config.json", 25),
        ("model_index.json", 10),
    ],
)
def test_folders_of_diffusers(file: str, count: int, tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    folder = pipeline(tmp_path / "damaged", "eps", "ddim_default")
    found = outcomes(lambda path: named(folder, path), folder / file, (folder / file).read_bytes(), count)
    assert found.read + len(found.messages) == count


@pytest.mark.parametrize("file", ["home.json", "weights.safetensors"])
def test_folders_of_a_model_and_its_settings(file: str, tmp_path: Path) -> None:
    folder, case, _ = golden("openai", "legacy_heads")
    ed.interop.save(openai.load(folder, **case["flags"]), tmp_path / "damaged")
    path = tmp_path / "damaged" / file
    found = outcomes(lambda path: named(tmp_path / "damaged", path), path, path.read_bytes(), 20)
    assert len(found.messages) > 10


@pytest.mark.parametrize("name", ["cond_latent", "one_level", "old_layout"])
def test_snapshots_of_edm2(name: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.pkl"
    sound = (GOLDEN / "m_edm2" / f"{name}.pkl").read_bytes()
    places = [position for _, _, position in pickletools.genops(sound)]
    found = outcomes(ed.load, path, sound, 15, places=places)
    assert len(found.messages) > 5


def named(folder: Path, path: Path) -> Any:
    """A folder opened; the message of an error names it or a file in it."""
    try:
        return ed.load(folder)
    except (ValueError, OSError) as error:
        if str(folder) not in str(error):
            raise AssertionError(str(error)) from None
        raise ValueError(f"{path.name}: {error}") from None

"""State dicts in files: parts, wrappers' words, and files that are not what they say."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from elucidiff.interop import weights


def network() -> nn.Module:
    with torch.device("meta"):
        return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).state_dict()


def same(ours: nn.Module) -> bool:
    return all(torch.equal(value, state()[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("words", ["", "module.", "param/", "model.net."])
def test_words_before_the_names(words: str) -> None:
    ours = network()
    weights.fit(
        ours,
        {words + name: value for name, value in state().items()} | {"elsewhere": torch.ones(1)} if words else state(),
    )
    assert same(ours)


def test_parts(tmp_path: Path) -> None:
    names = sorted(state())
    for count, pattern in ((2, "weights_{}.safetensors"), (2, "model-0000{}-of-00002.safetensors")):
        folder = tmp_path / pattern[:5]
        folder.mkdir()
        files = [folder / pattern.format(index) for index in range(count)]
        for index, file in enumerate(files):
            save_file({name: state()[name] for name in names[index::count]}, file)
        for source in (folder, files[1], files, [str(file) for file in files]):
            ours = network()
            weights.fit(ours, weights.tensors(weights.read(source), "it"))
            assert same(ours)
        with pytest.raises(ValueError, match="which an earlier part has"):
            weights.read([files[0], files[0]])


def test_types(tmp_path: Path) -> None:
    for dtype, kept in ((torch.float16, torch.float32), (torch.float8_e4m3fn, torch.float32), (torch.float64,) * 2):
        save_file({name: value.to(dtype) for name, value in state().items()}, tmp_path / "w.safetensors")
        ours = network()
        weights.fit(ours, weights.read(tmp_path / "w.safetensors"))
        assert {value.dtype for value in ours.parameters()} == {kept}
        assert all(value.requires_grad for value in ours.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"0.weight": None}, "lack 0.weight"),
        ({"2.weight": torch.ones(1)}, "have, unexpectedly, 2.weight"),
        ({"0.weight": torch.ones(3, 3)}, r"0.weight have shape \(3, 3\), where \(2, 3\) is needed"),
        ({"0.bias": torch.tensor([1.0, torch.nan])}, "0.bias are not all finite"),
    ],
)
def test_weights_that_do_not_fit(change: dict[str, torch.Tensor | None], message: str) -> None:
    given = {name: value for name, value in (state() | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        weights.fit(network(), given)


class _Runs:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("old", [False, True])
def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, old: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": _Runs()}, "bad.pt", _use_new_zipfile_serialization=not old)
    Path("raw.pkl").write_bytes(pickle.dumps(_Runs()))
    for name in ("bad.pt", "raw.pkl"):
        with pytest.raises(ValueError, match=f"cannot read {name}") as caught:
            weights.read(name)
        assert "\n" not in str(caught.value)
    assert not Path("ran").exists()


def test_hostile_and_damaged_files(tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    torch.save(state(), good)
    assert weights.read(good).keys() == state().keys()
    content = good.read_bytes()
    (tmp_path / "short.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.pt").write_text("weights")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": torch.ones(1).expand(1 << 20)}, tmp_path / "shared.pt")
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    (tmp_path / "header.safetensors").write_bytes((1 << 40).to_bytes(8, "little") + b"{}")
    for name in ("short.pt", "empty.pt", "text.pt", "list.pt", "shared.pt", "packed.pt", "header.safetensors"):
        with pytest.raises(ValueError, match=name) as caught:
            weights.read(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        weights.read(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="has not one file of weights"):
        weights.read(tmp_path)

"""Which extractors there are, and that a file of theirs can do no harm."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from elucidiff.evaluation.quality import open_extractor
from elucidiff.evaluation.quality.weights import read_state
from tests.evaluation.quality.small import Colours, script

CLIP = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"


class Harmful:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["HARM"],)


@pytest.fixture
def harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that appears when the pickle beside it is run."""
    monkeypatch.setenv("HARM", str(tmp_path / "harm"))
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Harmful()))
    torch.save({"a": Harmful()}, tmp_path / "weights.pt")
    return tmp_path / "harm"


def test_grey_is_rgb_with_equal_channels(tmp_path: Path) -> None:
    extractor = open_extractor(script(tmp_path / "colours.pt"), batch_size=3)
    grey = torch.randint(0, 256, (7, 1, 6, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    rows = extractor(grey)
    np.testing.assert_array_equal(rows, extractor(grey.expand(-1, 3, -1, -1)))
    np.testing.assert_array_equal(rows, Colours()(grey.expand(-1, 3, -1, -1)).numpy())
    assert (extractor.dim, extractor.classes) == (24, 0)


def test_the_key_tells_what_decides_the_bits(tmp_path: Path) -> None:
    file = script(tmp_path / "colours.pt")
    keys = {open_extractor(file, batch_size=size).key for size in (3, 4, 4)}
    assert len(keys) == 2
    other = script(tmp_path / "other.pt", nn.Sequential(Colours(), nn.Linear(24, 3)))
    assert open_extractor(other).id != open_extractor(file).id


def test_extractors_that_ask_whether_features_are_wanted(tmp_path: Path) -> None:
    class Classes(nn.Module):
        def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
            x = images.float().mean((2, 3))
            return x if return_features else x.sum(1, keepdim=True)

    assert open_extractor(script(tmp_path / "classes.pt", Classes())).dim == 3


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4, 8, 8), torch.uint8), ((3, 8), torch.uint8), ((3, 8, 8), torch.float32)]
)
def test_what_it_cannot_describe(shape: tuple[int, ...], dtype: torch.dtype, tmp_path: Path) -> None:
    extractor = open_extractor(script(tmp_path / "colours.pt"))
    with pytest.raises(ValueError, match="describes 8-bit pictures"):
        extractor(torch.zeros(1, *shape, dtype=dtype))


def test_names_that_are_not_known() -> None:
    with pytest.raises(ValueError, match="extractor 'inceptionv3' is unknown; did you mean 'inception-v3'"):
        open_extractor("inceptionv3")
    with pytest.raises(ValueError, match="'torchscript' is unknown"):
        open_extractor("torchscript")


def test_files_that_are_no_extractors(tmp_path: Path, harm: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_extractor(tmp_path / "missing.pt")
    for name in ("weights.pth", "weights.pt"):
        with pytest.raises(ValueError, match="is not a TorchScript file"):
            open_extractor(tmp_path / name)
    whole = script(tmp_path / "colours.pt").read_bytes()
    for name, content in (("short.pt", whole[: len(whole) // 2]), ("empty.pt", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="is not a TorchScript file"):
            open_extractor(tmp_path / name)
    middle = len(whole) // 3
    (tmp_path / "changed.pt").write_bytes(whole[:middle] + bytes(64) + whole[middle + 64 :])
    with pytest.raises(ValueError, match=r"changed\.pt"):
        open_extractor(tmp_path / "changed.pt")
    with pytest.raises(ValueError, match=r"pool cannot describe a uint8 picture .* not implemented for 'Byte'"):
        open_extractor(script(tmp_path / "pool.pt", nn.Sequential(nn.AdaptiveAvgPool2d(2))))
    with pytest.raises(ValueError, match=r"made \(1, 3, 32, 32\) of 1 images: one tensor"):
        open_extractor(script(tmp_path / "same.pt", nn.Sequential(nn.ReLU())))
    assert not harm.exists()


def test_weights_that_would_run_something(tmp_path: Path, harm: Path) -> None:
    for extractor in ("efficientnet-lite0", "inception-v3"):
        for name in ("weights.pth", "weights.pt"):
            with pytest.raises(ValueError, match="is not a file of weights"):
                open_extractor(extractor, weights=tmp_path / name)
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="it must hold tensors by name"):
        read_state(tmp_path / "list.pth")
    assert not harm.exists()


def test_weights_of_another_network(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    for extractor in ("efficientnet-lite0", "inception-v3"):
        with pytest.raises(ValueError, match=rf"other\.pth does not hold the weights of {extractor}:"):
            open_extractor(extractor, weights=tmp_path / "other.pth")
    with pytest.raises(FileNotFoundError, match="there is no file of weights"):
        open_extractor("inception-v3", weights=tmp_path / "missing.pth")
    with pytest.raises(ValueError, match="leave --weights out"):
        open_extractor(script(tmp_path / "colours.pt"), weights=tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("name", "url", "file"),
    [
        (
            "inception-v3",
            "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
            "weights-inception-2015-12-05-6726825d.pth",
        ),
        (
            "dinov2",
            "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth",
            "dinov2_vitl14_pretrain.pth",
        ),
        (
            "clip-vit-b-32",
            f"https://openaipublic.azureedge.net/clip/models/{CLIP}/ViT-B-32.pt",
            f"clip-vit-b-32-{CLIP}.pt",
        ),
        ("vgg16", "https://download.pytorch.org/models/vgg16-397923af.pth", "vgg16-397923af.pth"),
    ],
)
def test_missing_weights_without_internet(
    name: str, url: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_internet(*_: Any, **__: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_internet)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        open_extractor(name)
    said = str(error.value)
    assert "could not be fetched (<urlopen error Name or service not known>)" in said
    assert f"put {url} at {tmp_path / 'hub' / 'checkpoints' / file}" in said
    assert "\n" not in said
    assert f"the weights of {name} are not on this machine" in said
    assert ("--weights" in said) == (name != "dinov2")
    code = f"unpack https://github.com/facebookresearch/dinov2/archive/refs/heads/main.zip as {tmp_path}"
    assert (code in said) == (name == "dinov2")


@pytest.mark.slow
def test_inception_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With weights that nobody trained, from --weights and from where they would be fetched to."""
    from torch_fidelity import feature_extractor_inceptionv3

    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "load_state_dict", lambda *_: None)
        patch.setattr(torch, "load", lambda *_, **__: {})
        network = feature_extractor_inceptionv3.FeatureExtractorInceptionV3("x", ["2048"], "y")
    file = tmp_path / "hub" / "checkpoints" / "weights-inception-2015-12-05-6726825d.pth"
    file.parent.mkdir(parents=True)
    torch.save(network.state_dict(), file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    image = torch.randint(0, 256, (1, 3, 32, 32), dtype=torch.uint8)
    for weights in (file, None):
        extractor = open_extractor("inception-v3", weights=weights)
        assert (extractor.dim, extractor.classes) == (2048, 1008)
        np.testing.assert_array_equal(extractor(image)[:, :2048], network(image)[0].numpy())


def test_metrics_and_components_need_no_library_of_feature_networks() -> None:
    script = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch_fidelity":
            raise ModuleNotFoundError("no torch-fidelity", name="torch_fidelity")
sys.meta_path.insert(0, Missing())
from elucidiff import evaluation, parts
print(*parts.parts_of("feature extractor"), "fid" in parts.parts_of("metric"), evaluation.Evaluator.__name__)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("pca True Evaluator\n", "")

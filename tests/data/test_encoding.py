"""Pictures imported as latents: the numbers of ONNX Runtime called directly, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import elucidiff as ed
from elucidiff.cli.main import main
from elucidiff.data import encoding
from tests.interop.autoencoders.made import decoder, encoder, write_pair

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 3, 16, 16), np.uint8)


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return write_pair(tmp_path / "pair")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    np.savez(tmp_path / "pictures.npz", images=PIXELS, labels=np.arange(20) % 3)
    return tmp_path / "pictures.npz"


def _directly(model: bytes, name: str, values: np.ndarray) -> np.ndarray:
    found: np.ndarray = onnxruntime.InferenceSession(model).run(None, {name: values})[0]
    return found


def test_latents_are_those_of_the_encoder_and_come_back_as_those_of_the_decoder(
    pair: Path, pictures: Path, tmp_path: Path
) -> None:
    made = ed.data.import_latents(pictures, tmp_path / "latents", pair)
    assert (made.count, made.shape, made.label_dim) == (20, (4, 4, 4), 3)
    stored = np.load(tmp_path / "latents" / "images.npy")
    # In [0, 1]: a sigmoid makes no picture in [-1, 1], which is found by trying.
    direct = _directly(encoder().SerializeToString(), "image", PIXELS.astype(np.float32) / 255)
    np.testing.assert_allclose(stored, direct, atol=1e-5)
    shutil.rmtree(pair)  # it is copied beside the latents
    dataset = ed.data.open(made.folder)
    assert dataset.autoencoder is not None
    assert dataset.pictures is not None
    back = dataset.autoencoder.decode(dataset.images())
    expected = _directly(decoder().SerializeToString(), "latent", stored) * 2 - 1
    np.testing.assert_allclose(back.numpy(), expected, atol=1e-5)
    assert np.array_equal(dataset.pictures.images().numpy(), PIXELS)
    assert dataset.verify().sha256 == made.sha256


def test_the_pictures_follow_a_selection(pair: Path, pictures: Path, tmp_path: Path) -> None:
    dataset = ed.data.open(ed.data.import_latents(pictures, tmp_path / "latents", pair).folder)
    some = dataset.select([7, 3, 11]).in_memory().select([2, 0]).without_labels()
    assert some.pictures is not None
    assert np.array_equal(some.pictures.images().numpy(), PIXELS[[11, 7]])


def test_an_imported_set_is_not_copied(pair: Path, pictures: Path, tmp_path: Path) -> None:
    ed.data.import_dataset(pictures, tmp_path / "set")
    made = ed.data.import_latents(tmp_path / "set", tmp_path / "latents", pair)
    assert not (made.folder / "pictures").exists()
    found = ed.data.open(made.folder).pictures
    assert found is not None
    assert np.array_equal(found.images().numpy(), PIXELS)
    (tmp_path / "set").rename(tmp_path / "elsewhere")
    with pytest.raises(
        FileNotFoundError, match=r"the pictures of the latents latents are not at .*set: put them there"
    ):
        _ = ed.data.open(made.folder).pictures


def test_one_that_was_stopped_goes_on(
    pair: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ed.data.import_latents(pictures, tmp_path / "whole", pair)

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "encoding":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ed.data.import_latents(pictures, tmp_path / "latents", pair, progress=stop)
    seen = []
    monkeypatch.setattr(encoding, "_encoded", _watched(seen))
    made = ed.data.import_latents(pictures, tmp_path / "latents", pair)
    assert seen == [8]  # what was encoded is not encoded again
    assert made.sha256 == whole.sha256
    assert ed.data.import_latents(pictures, tmp_path / "latents", pair).sha256 == whole.sha256


def _watched(seen: list[int]) -> object:
    before = encoding._encoded

    def watched(contents: object, coder: object, done: int, *rest: object) -> object:
        seen.append(done)
        return before(contents, coder, done, *rest)  # type: ignore[arg-type]

    return watched


def test_drawn_from_the_distribution(pictures: Path, tmp_path: Path) -> None:
    pair = write_pair(tmp_path / "vae", moments=True)
    means, drawn = (
        np.load(
            ed.data.import_latents(pictures, tmp_path / f"{sampled}", pair, sampled=sampled).folder / "images.npy"
        )
        for sampled in (False, True)
    )
    both = _directly(encoder(moments=True).SerializeToString(), "image", PIXELS.astype(np.float32) / 255)
    np.testing.assert_allclose(means, both[:, :4], atol=1e-5)
    unit = (drawn - both[:, :4]) / np.exp(both[:, 4:] / 2)
    assert abs(unit.mean()) < 4 / np.sqrt(unit.size)
    assert abs(unit.std() - 1) < 4 / np.sqrt(2 * unit.size)
    again = ed.data.import_latents(pictures, tmp_path / "again", pair, sampled=True, batch_size=3)
    np.testing.assert_allclose(np.load(again.folder / "images.npy"), drawn, atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--encode", "{pair}", "--channels", "1"], "cannot encode pictures of shape (1, 16, 16): it takes 3 x"),
        (["--encode", "{pair}", "--resize", "18"], "sides must be divisible by 4; import with --resize 16"),
        (["--encode", "{pair}", "--sampled"], "gives one latent of a picture, and no distribution"),
        (["--encode", "{unfit}"], "makes latents of 4 channels, and "),
        (["--encode", "nowhere"], "there is no autoencoder nowhere"),
        (["--encode", "{tmp}"], "is no autoencoder: expected a folder with an encoder"),
        (["--encode", "{pair}", "--condition", "grayscale"], "latents are imported without conditions"),
        (["--sampled"], "--sampled is about latents: name an autoencoder with --encode"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    flags: list[str], said: str, pair: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfit, empty = write_pair(tmp_path / "unfit"), tmp_path / "empty"
    empty.mkdir()
    shutil.copy(write_pair(tmp_path / "five", latents=5) / "decoder.onnx", unfit / "decoder.onnx")
    places = {"pair": pair, "unfit": unfit, "tmp": empty}
    given = [flag.format(**places) for flag in flags]
    assert main(["data", "import", str(pictures), str(tmp_path / "out"), *given]) == 2
    line = capsys.readouterr().err.strip()
    assert said in line
    assert "\n" not in line
    assert not (tmp_path / "out").exists()


def test_another_autoencoder_is_not_taken_for_it(pair: Path, pictures: Path, tmp_path: Path) -> None:
    made = ed.data.import_latents(pictures, tmp_path / "latents", pair)
    shutil.copy(write_pair(tmp_path / "other", seed=5) / "decoder.onnx", made.folder / "autoencoder" / "decoder.onnx")
    dataset = ed.data.open(made.folder)
    assert dataset.autoencoder is not None
    with pytest.raises(ValueError, match="is another autoencoder than the one of these latents"):
        dataset.autoencoder.decode(dataset.images([0]))
    with pytest.raises(FileExistsError, match="was encoded otherwise"):
        ed.data.import_latents(pictures, made.folder, tmp_path / "other")


def test_what_is_done_to_pictures_is_not_done_to_latents(pair: Path, pictures: Path, tmp_path: Path) -> None:
    made = ed.data.import_latents(pictures, tmp_path / "latents", pair)
    with pytest.raises(ValueError, match="holds latents, and is imported already"):
        ed.data.import_dataset(made.folder, tmp_path / "again")
    with pytest.raises(ValueError, match="holds latents, which are not mirrored as pictures are"):
        ed.data.open(made.folder, xflip=True)


def test_a_part_of_ones_own(pictures: Path, tmp_path: Path) -> None:
    module = tmp_path / "halves_of_mine.py"
    module.write_text(
        "import torch, elucidiff as ed\nfrom dataclasses import dataclass\n"
        '@ed.part("autoencoder", "halves_of_mine")\n@dataclass(frozen=True)\n'
        "class Halves(ed.autoencoders.Autoencoder):\n"
        '    "Means of pixels.\\n\\n    Args:\\n        factor: how many on a side.\\n    "\n'
        "    factor: int = 2\n"
        "    def encode(self, images):\n        return torch.nn.functional.avg_pool2d(images, self.factor)\n"
        "    def decode(self, latents):\n"
        "        return torch.nn.functional.interpolate(latents, scale_factor=self.factor)\n"
    )
    out = tmp_path / "latents"
    given = ["data", "import", str(pictures), str(out), "--encode", "halves_of_mine:factor=4"]
    assert main([*given, "--plugin", str(module)]) == 0
    unit = torch.from_numpy(PIXELS).float() / 127.5 - 1
    means = unit.reshape(20, 3, 4, 4, 4, 4).mean((3, 5))
    torch.testing.assert_close(ed.data.open(out).images(), means, atol=1e-6, rtol=0)

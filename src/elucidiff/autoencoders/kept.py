"""An autoencoder that is written down beside latents, or a model of them: which one it was, and where it is."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from elucidiff import parts
from elucidiff.autoencoders.base import Autoencoder, in_batches, told
from elucidiff.files import sha256, whole_folder
from elucidiff.untrusted import printable

FOLDER = "autoencoder"
"""Beside latents, or in a model folder: copies of an autoencoder's files."""

MOST_COPIED = 64 << 20
"""Bytes of an autoencoder that is copied. A larger one, such as that of Stable Diffusion, stays where it is."""


@parts.part("autoencoder", "kept")
@dataclass(frozen=True)
class KeptAutoencoder(Autoencoder):
    """Another autoencoder, which counts only if its files are still those that were written down.

    Small ones (up to 64 MiB) are copied beside the latents and into model folders, which then are complete; of larger
    ones the place is kept. One of a plugin has no files: the user names its module again. Pictures go through it one
    at a time: so what comes of one does not depend on those around it, and memory does not on their number; one of
    256x256 pixels keeps a core as busy as several would.

    Args:
        autoencoder: the other one, where its files were.
        fingerprint_then: :meth:`.Autoencoder.fingerprint` when it was written down.
        names: of its files.
        digests: the SHA-256 of each.
        picture_shape: of the pictures, ``(C, *spatial)``.
        sampled: whether latents were drawn from the encoder's distribution, and not its means.

    >>> import elucidiff as ed, torch
    >>> from dataclasses import dataclass
    >>> @ed.part("autoencoder", "example_thirds")
    ... @dataclass(frozen=True)
    ... class Thirds(ed.autoencoders.Autoencoder):
    ...     "Means of 3 x 3 pixels."
    ...     def encode(self, images):
    ...         return torch.nn.functional.avg_pool2d(images, 3)
    ...     def decode(self, latents):
    ...         return torch.nn.functional.interpolate(latents, scale_factor=3)
    >>> kept = ed.autoencoders.KeptAutoencoder.of(Thirds(), (1, 6, 6))
    >>> kept.decode(torch.ones(2, 1, 2, 2)).shape
    torch.Size([2, 1, 6, 6])
    """

    autoencoder: Autoencoder
    fingerprint_then: str
    names: tuple[str, ...]
    digests: tuple[str, ...]
    picture_shape: tuple[int, ...]
    sampled: bool = False

    def __post_init__(self) -> None:
        names = all(Path(name).name == name not in ("", ".", "..") for name in self.names)
        sides = len(self.picture_shape) >= 2 and all(0 < side < 1 << 16 for side in self.picture_shape)
        if not (names and sides and len(self.names) == len(self.digests)):
            raise ValueError("what is said of the autoencoder is damaged")

    @classmethod
    def of(cls, autoencoder: Autoencoder, shape: tuple[int, ...], *, sampled: bool = False) -> KeptAutoencoder:
        """Describe one that encodes pictures of a shape, to be written down."""
        files = autoencoder.files()
        digests = tuple(sha256(path) for path in files.values())
        return cls(autoencoder, autoencoder.fingerprint(), tuple(files), digests, shape, sampled)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures in [-1, 1], on the CPU, of latents in the autoencoder's own units.

        Raises:
            OSError: a file is missing or cannot be read.
            ValueError: a file is another than it was; or what comes out has another shape than what was encoded.
        """
        pictures = in_batches(self.found.decode, latents.float().cpu(), 1)
        if tuple(pictures.shape[1:]) != self.picture_shape:
            raise ValueError(f"the autoencoder makes pictures {tuple(pictures.shape[1:])}, not {self.picture_shape}")
        return pictures

    def encode(self, images: Tensor) -> Tensor:
        """Latents, in the autoencoder's own units, of pictures in [-1, 1]: the mean of their distribution.

        Raises:
            OSError, ValueError: as for :meth:`decode`.
        """
        if tuple(images.shape[1:]) != self.picture_shape:
            raise ValueError(
                f"pictures have shape {tuple(images.shape[1:])}, but those of the model {self.picture_shape}"
            )
        return in_batches(self.found.encode, images.float().cpu(), 1)

    @property
    def found(self) -> Autoencoder:
        """The other one, its files compared with what was written down.

        Raises:
            OSError: a file is missing or cannot be read.
            ValueError: a file is another than it was.
        """
        return _found(self, tuple(map(_state, self.files().values())))

    def files(self) -> Mapping[str, Path]:
        """Those of the other one."""
        return self.autoencoder.files()

    def fingerprint(self) -> str:
        """The description that was written down."""
        return self.fingerprint_then

    def keep(self, folder: Path) -> KeptAutoencoder:
        """Copy the files into ``folder/autoencoder``, unless they are there or too large; the same, with these.

        Raises:
            OSError: they cannot be read or written.
            ValueError: a file is another than it was.
        """
        target = folder / FOLDER
        there = {name: target / name for name in self.names}
        if not self.names:
            return self
        known = zip(there.values(), self.digests, strict=True)
        if not all(path.is_file() and sha256(path) == digest for path, digest in known):
            files = self.found.files()
            if sum(path.stat().st_size for path in files.values()) > MOST_COPIED:
                return self
            with whole_folder(target) as fresh:
                for name, path in files.items():
                    shutil.copyfile(path, fresh / name)
        return replace(self, autoencoder=self.autoencoder.among(there))


def _state(path: Path) -> tuple[int, int] | None:
    """A mark that changes when a file does: so its digest is computed once."""
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None


@functools.lru_cache(maxsize=4)
def _found(kept: KeptAutoencoder, states: tuple[tuple[int, int] | None, ...]) -> Autoencoder:
    files = kept.autoencoder.files()
    if tuple(files) != kept.names:
        raise ValueError("the autoencoder of these latents has other files than it had")
    for (name, path), digest in zip(files.items(), kept.digests, strict=True):
        if not path.is_file():
            raise FileNotFoundError(
                f"the autoencoder of these latents is not at {printable(str(path))}: put it there, or its file "
                f"{printable(name)} into a folder {FOLDER} beside the latents, or in the model folder"
            )
        if sha256(path) != digest:
            raise ValueError(f"{printable(str(path))} is another autoencoder than the one of these latents (SHA-256)")
    if kept.autoencoder.fingerprint() != kept.fingerprint_then:
        raise ValueError("the autoencoder of these latents has other settings than it had")
    return kept.autoencoder


def kept_by(folder: Path, plain: Mapping[str, Any]) -> KeptAutoencoder:
    """The autoencoder that a file in ``folder`` describes, its files in ``folder/autoencoder`` if they are there.

    Raises:
        ValueError: the description is damaged, or names a part that is not known.
    """
    try:
        kept = parts.from_plain("autoencoder", plain)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"what {printable(str(folder))} says of its autoencoder: {told(error)}") from None
    if not isinstance(kept, KeptAutoencoder):
        raise ValueError(f"what {printable(str(folder))} says of its autoencoder is damaged")
    there = {name: folder / FOLDER / name for name in kept.names}
    if there and all(path.is_file() for path in there.values()):
        return replace(kept, autoencoder=kept.autoencoder.among(there))
    return kept

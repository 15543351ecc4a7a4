"""The door: wherever somebody names a model, :func:`load` opens it, whatever it is.

A model is a folder of ours; a file or folder of another library that says what it is, each format a part that
recognises its own by content; or a function of the user's own code, ``package.module:function``. Formats whose files
hold weights alone (``interop.openai``, say) are read by their own ``load``, and told the rest.
"""

from __future__ import annotations

import functools
import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from elucidiff import parts
from elucidiff.denoisers import model_card, model_folder
from elucidiff.denoisers.factories import Factory
from elucidiff.denoisers.found_instead import told
from elucidiff.devices import choose_device
from elucidiff.files import sha256
from elucidiff.untrusted import printable

SAMPLERS = "samplers"
"""The folder beside a model's files in which its samplers are kept."""

_Reader = TypeVar("_Reader", bound=Callable[..., Any])


@dataclass(frozen=True)
class Format(ABC):
    """A format of other people's models; a new one is :meth:`recognises` and :meth:`load`."""

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """True if the file or folder is of this format, by what is in it; quick, and without running anything of it.

        Called with whatever somebody names: False, not an error, for what is something else.
        """

    @abstractmethod
    def load(self, path: Path) -> Any:
        """The model as a denoiser on the CPU, in evaluation mode.

        Raises:
            ValueError: it is damaged; the message names the file.
            OSError: it cannot be read.
        """


def opens(recognises: Callable[[Path], bool]) -> Callable[[_Reader], _Reader]:
    """Register a reader of paths, of which ``recognises`` is true, as the format that its room here is named after::

    @opens(lambda path: (path / "model_index.json").is_file())
    def load(path): ...
    """

    def register(reader: _Reader) -> _Reader:
        methods = {
            "recognises": lambda self, path: recognises(path),
            "load": lambda self, path: reader(path),
            "__doc__": (reader.__doc__ or "").strip().split("\n\n")[0],
            "__module__": reader.__module__,
        }
        name = reader.__module__.removeprefix("elucidiff.interop.").partition(".")[0]
        parts.part("format", name)(dataclass(frozen=True)(type("Reader", (Format,), methods)))
        return reader

    return register


def recognised(path: str | os.PathLike[str]) -> Format | None:
    """The format of a file or folder, plugins' included; None for our own model folders and what nobody knows."""
    where = Path(path)
    if not where.exists() or (where / "model.json").exists():
        return None
    made = (cls() for cls in parts.parts_of("format").values())
    return next((each for each in made if each.recognises(where)), None)


def is_model(path: str | os.PathLike[str]) -> bool:
    """True if :func:`load` would take this for a model, rather than for pictures, say; it need not be whole."""
    if Factory.spelled(path) is not None or (Path(path) / "model.json").is_file():
        return True
    return recognised(path) is not None


def load(
    path: str | os.PathLike[str], device: str | torch.device | None = None, network: nn.Module | None = None
) -> Any:
    """Open a model, whatever it is.

    Args:
        path: a folder that :meth:`.Denoiser.save` wrote; a file or folder of another library that holds its own
            settings, such as a pipeline of diffusers or a network snapshot of NVlabs/edm or edm2: ``elucidiff parts
            format`` lists them; or a function of your own that returns a denoiser, as ``package.module:function`` or
            ``path/to/file.py:function``, whose module is then imported.
        device: where its weights are to be, such as ``"cuda"`` or ``"auto"``; the CPU by default.
        network: for a model folder: the module into which the weights go, where no registered part builds it. The
            denoiser holds the module itself.

    Returns:
        The denoiser, in evaluation mode.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: it is damaged, of a format that is not known, or names a part that is not known; or the function
            is not there, fails, or returns no denoiser. The message names the file, and says what was found.

    >>> import elucidiff as ed
    >>> ed.load("nowhere")
    Traceback (most recent call last):
        ...
    FileNotFoundError: there is no model folder or file nowhere
    """
    denoiser = _open(path, network)
    return denoiser if device is None else denoiser.to(choose_device(str(device)))


def _open(path: str | os.PathLike[str], network: nn.Module | None) -> Any:
    where = Path(path).expanduser()
    factory = Factory.spelled(path)
    found = recognised(where) if factory is None else None
    if network is not None and (factory is not None or found is not None):
        raise ValueError(f"{printable(os.fspath(path))} says itself what its network is: leave network out")
    if factory is not None:
        return factory.make()
    if found is not None:
        return found.load(where)
    if not os.path.lexists(where):
        raise FileNotFoundError(f"there is no model folder or file {printable(str(where))}")
    if where.is_dir() and ((where / "model.json").exists() or (where / "model.safetensors").exists()):
        return model_folder.load(where, network=network)
    raise ValueError(f"{printable(str(where))} is no model that says what it is, but {told(where)}. {_readable()}")


def _readable() -> str:
    """What :func:`load` takes, in a sentence."""
    formats = ", ".join(parts.parts_of("format"))
    return (
        f"Readable are model folders, what `elucidiff parts format` lists ({formats}; others need --plugin MODULE), "
        "and your own code as package.module:function; weights alone are read by elucidiff.interop.openai.load and "
        "its fellows, which are told the settings"
    )


def checksum(path: str | os.PathLike[str]) -> str:
    """SHA-256 of all that decides what a model returns: see :func:`.model_folder.checksum`; of another format, of all
    its files; of a function of the user's own, of its module and what it made.

    Raises:
        OSError: a file is missing or cannot be read.
        ValueError: a description is damaged, or the function fails.
    """
    if (factory := Factory.spelled(path)) is not None:
        return _checksum_of(factory)
    where = Path(path).expanduser()
    if recognised(where) is None:
        return model_folder.checksum(where)
    if where.is_file():
        return sha256(where)
    digest = hashlib.sha256()
    for file in sorted(file for file in where.rglob("*") if file.is_file()):
        inside = file.relative_to(where)
        if inside.parts[0] != SAMPLERS and file.name != model_card.FILE:  # made for the model, and no part of it
            digest.update(f"{inside.as_posix()}\0{sha256(file)}\0".encode())
    return digest.hexdigest()


@functools.cache
def _checksum_of(factory: Factory) -> str:
    return factory.checksum(factory.make())


def samplers_of(path: str | os.PathLike[str]) -> Path:
    """The folder of a model's samplers: in the model's own, or beside what is no folder.

    >>> samplers_of("runs/demo/model").as_posix()
    'runs/demo/model/samplers'
    >>> samplers_of("code/mine.py:make").as_posix()
    'code/mine.py.make-samplers'
    """
    where = Path(path).expanduser()
    if (factory := Factory.spelled(path)) is not None:
        return where.with_name(f"{Path(factory.module).name}.{factory.function}-{SAMPLERS}")
    return where.with_name(f"{where.name}-{SAMPLERS}") if where.is_file() else where / SAMPLERS


def name_of(path: str | os.PathLike[str]) -> str:
    """The name of a model: the run that its folder is in, unless it has a name of its own.

    >>> name_of("runs/demo/model"), name_of("code/mine.py:make")
    ('demo', 'mine.make')
    """
    if (factory := Factory.spelled(path)) is not None:
        return factory.short.replace(":", ".")
    where = Path(path).expanduser().resolve()
    return where.parent.name if where.name == "model" else where.name


def load_guide(
    guide: str | os.PathLike[str], model: str | os.PathLike[str] | None, device: str | torch.device | None = None
) -> Any:
    """The worse model of autoguidance, ready on its device; see :func:`load`.

    Args:
        guide: where it is.
        model: where the model that is guided is, if it has a place.
        device: where its weights are to be.

    Raises:
        ValueError: both are the same model, or the guide is damaged.
        OSError: it cannot be read.
    """
    if model is not None and checksum(guide) == checksum(model):
        raise ValueError(
            f"--guide {guide} is the same model as {model}, which changes nothing: give a smaller or an earlier one"
        )
    return load(guide, device)

"""The door: wherever somebody names a model, :func:`load` opens it, whatever it is.

A model is a folder of ours; a file or folder of another library that says what it is, each format a part that
recognises its own by content; or a function of the user's own code, ``package.module:function``. Formats whose files
hold weights alone (``interop.openai``, say) are read by their own ``load``, and told the rest.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from elucidiff import parts
from elucidiff.denoisers import model_card, model_folder
from elucidiff.denoisers.base import DenoiserModule, Described, as_denoiser
from elucidiff.devices import choose_device
from elucidiff.files import sha256
from elucidiff.plugins import imported
from elucidiff.suggest import suggestion
from elucidiff.untrusted import clipped, open_regular, printable

_LISTED = 4

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\x93NUMPY", "an array (.npy)"),
    (b"GGUF", "quantised weights (GGUF)"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a compressed file (gzip)"),
    (b"version https://git-lfs", "a pointer of Git LFS, whose content was not fetched"),
)


def told(path: Path) -> str:
    """It in a few words, such as ``an empty folder`` or ``weights alone``."""
    return _folder(path) if path.is_dir() else _file(path)


def _folder(path: Path) -> str:
    if (path / "model" / "model.json").is_file():
        return f"the folder of a run: its model is {printable(str(path / 'model'))}"
    names = sorted(entry.name for entry in path.iterdir())
    if not names:
        return "an empty folder"
    shown = ", ".join(clipped(name, 40) for name in names[:_LISTED])
    return f"a folder with {shown}{f' and {len(names) - _LISTED} more' if len(names) > _LISTED else ''}"


def _file(path: Path) -> str:
    with open_regular(path) as file:
        start = file.read(64)
    if not start:
        return "an empty file"
    for beginning, what in _BEGINNINGS:
        if start.startswith(beginning):
            return what
    if len(start) > 8 and start[8:9] == b"{":
        return _safetensors(path)
    if start[:2] == b"PK":
        return _archive(path)
    if start[:1] == b"\x80":
        return "a pickle, of which no reader knows the content"
    if path.suffix == ".onnx":
        return "a network in the format ONNX, whose weights cannot be asked for what they predict"
    if path.suffix == ".py":
        return f"Python code: name the function in it that makes the model, {printable(path.name)}:FUNCTION"
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return "a text"
    return "a file of an unknown kind"


def _safetensors(path: Path) -> str:
    try:
        with safe_open(path, "pt") as file:
            names = sorted(file.keys())
    except (SafetensorError, OSError, ValueError):
        return "a damaged file of safetensors"
    example = f", such as {clipped(names[0], 60)}" if names else ""
    return f"weights alone, {len(names)} tensors{example}"


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "a damaged archive"
    if any(name.endswith("/data.pkl") for name in names):
        return "a PyTorch checkpoint, weights alone"
    return f"an archive of {len(names)} files"


_SPELLING = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.\w+)*|.*\.py):(?P<function>[A-Za-z_]\w*)", re.DOTALL)


@dataclass(frozen=True)
class Factory:
    """A function of the user's that makes a denoiser.

    Attributes:
        module: ``package.module``, or the path of a ``.py`` file.
        function: its name there.
    """

    module: str
    function: str

    @classmethod
    def spelled(cls, model: str | os.PathLike[str]) -> Factory | None:
        """The function that ``model`` names; None if it is a path, as all that exist are."""
        text = os.fspath(model)
        found = _SPELLING.fullmatch(text)
        return None if found is None or os.path.lexists(text) else cls(found["module"], found["function"])

    def __str__(self) -> str:
        return f"{self.module}:{self.function}"

    @property
    def short(self) -> str:
        """``module:function``, of a file its name alone: what a model's folder may say of it."""
        return f"{Path(self.module).stem if self.module.endswith('.py') else self.module}:{self.function}"

    def make(self) -> DenoiserModule:
        """Call it.

        Raises:
            ValueError: there is no such module or function, it fails, or what it returns is no denoiser that says
                which shape its samples have.
        """
        return self.call(imported(self.module))

    def call(self, module: ModuleType) -> DenoiserModule:
        """:meth:`make`, from a module that was imported already."""
        name = printable(str(self))
        function = getattr(module, self.function, None)
        if function is None:
            known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
            near = suggestion(self.function, known) if known else "it has none"
            raise ValueError(f"{name}: the module has no function {self.function!r}; {near}")
        try:
            made = function if isinstance(function, nn.Module) else function()
        except (Exception, SystemExit) as error:
            text = clipped(" ".join(str(error).split()), 300)
            raise ValueError(f"{name} failed: {type(error).__name__}: {text}") from error
        denoiser = _checked(made, name)
        # Where it came from, for who writes it as a folder; a library's reader may have said more.
        home = {"format": "own_code", "settings": {}, **denoiser.facts.get("home", {})}
        denoiser.facts["home"] = {**home, "factory": self.short}
        return denoiser

    def checksum(self, denoiser: DenoiserModule) -> str:
        """SHA-256 of its name, the file of its module, and all weights of what it made."""
        total = hashlib.sha256(self.short.encode())
        source = getattr(imported(self.module), "__file__", None)
        if source is not None and Path(source).is_file():
            total.update(Path(source).read_bytes())
        total.update(weights_checksum(denoiser).encode())
        return total.hexdigest()


def weights_checksum(denoiser: nn.Module) -> str:
    """SHA-256 of the names, types and values of all parameters and buffers."""
    total = hashlib.sha256()
    for name, value in denoiser.state_dict().items():
        plain = value.detach().cpu().contiguous()
        total.update(f"{name}\0{plain.dtype}\0{tuple(plain.shape)}\0".encode())
        total.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def _checked(made: Callable[..., Any] | None, name: str) -> DenoiserModule:
    """The result of a factory, as a denoiser in evaluation mode that can be sampled from."""
    if made is None or not callable(made) or isinstance(made, type):
        what = f"the class {made.__name__}" if isinstance(made, type) else f"a {type(made).__name__}"
        raise ValueError(f"{name} returned {'None' if made is None else what}, but must return a denoiser: {_NEEDED}")
    denoiser = as_denoiser(made).eval()
    shape = denoiser.sample_shape
    if not shape or not all(isinstance(side, int) and side > 0 for side in shape):
        raise ValueError(
            f"{name} returned a {type(made).__name__} that does not say its sample_shape, (C, *spatial), which "
            f"samples need: {_NEEDED}"
        )
    _refuse_other_answers(denoiser, shape, name)
    return denoiser


_NEEDED = (
    "return ed.adapters.AdaptedDenoiser(network, predicts, time, sample_shape=(1, 28, 28)), an ed.Denoiser, or "
    "anything called as D(x, sigma) with an attribute sample_shape"
)


def _refuse_other_answers(denoiser: DenoiserModule, shape: tuple[int, ...], name: str) -> None:
    """Raise ValueError unless it answers a call with something like its samples."""
    if (
        denoiser.label_dim
        or denoiser.known_labels.field
        or (denoiser.label_kind == "conditions" and not isinstance(denoiser, Described))
    ):
        return  # it may need labels, of which nothing is known here
    sigma = denoiser.round_sigma(min(max(1.0, denoiser.sigma_min), denoiser.sigma_max))
    x = torch.zeros(1, *shape, device=denoiser.device)
    try:
        with torch.no_grad():
            got = tuple(denoiser(x, torch.as_tensor(sigma).to(x)).shape)
    except Exception as error:  # code that others make can fail in any way
        text = clipped(" ".join(str(error).split()), 300)
        raise ValueError(
            f"{name}: D(x, sigma) for x of shape {tuple(x.shape)} failed: {type(error).__name__}: {text}"
        ) from error
    if got != tuple(x.shape):
        raise ValueError(f"{name}: D(x, sigma) has shape {got} for x of shape {tuple(x.shape)}")


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
    """All that :func:`load` takes, in a sentence."""
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

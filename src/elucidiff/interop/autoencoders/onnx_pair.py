"""An encoder and a decoder as ONNX files, computed by ONNX Runtime.

An ONNX file is a program of matrix products and the like. What could keep it from ending (loops and branches), what
is no operator of the standard, and weights in other files than beside it are refused before anything is computed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from elucidiff import parts
from elucidiff.autoencoders.base import Autoencoder, told
from elucidiff.untrusted import open_regular, printable

_REFUSED = ("If", "Loop", "Scan", "SequenceMap")
_DOMAINS = ("", "ai.onnx", "com.microsoft")
_SUFFIX = ".onnx"
_FATAL_ONLY = 4  # ONNX Runtime's severity
_LARGEST = 2 << 30  # protobuf knows no larger message
_TYPES = {"tensor(float)": torch.float32, "tensor(float16)": torch.float16}


@parts.part("autoencoder", "onnx")
@dataclass(frozen=True)
class OnnxPair(Autoencoder):
    """An encoder and a decoder in ONNX, each with one input and one output, on the CPU.

    An encoder with twice as many channels as the decoder takes gives mean and logarithm of the variance of its
    latents, as those of variational autoencoders do.

    Args:
        encoder: the file with pictures to latents.
        decoder: the file with latents to pictures.
        low: what black is to them: 0 for pictures in [0, 1], -1 for [-1, 1]. None: whichever gives pictures back
            better.
    """

    encoder: str
    decoder: str
    low: float | None = None

    def __post_init__(self) -> None:
        if self.low not in (None, 0, -1):
            raise ValueError(f"low is {self.low:g}, but must be 0 for pictures in [0, 1] or -1 for [-1, 1]")

    @classmethod
    def named(cls, text: str) -> Autoencoder | None:
        """See :meth:`.Autoencoder.named`."""
        if (pair := _pair(text)) is None:
            return None
        encoder, decoder = pair
        return cls(str(encoder.resolve()), str(decoder.resolve()))

    def files(self) -> Mapping[str, Path]:
        """See :meth:`.Autoencoder.files`; weights that are in files of their own stay where they are."""
        return {"encoder.onnx": Path(self.encoder), "decoder.onnx": Path(self.decoder)}

    def among(self, files: Mapping[str, Path]) -> Self:
        """See :meth:`.Autoencoder.among`."""
        return replace(self, encoder=str(files["encoder.onnx"]), decoder=str(files["decoder.onnx"]))

    def suited_to(self, images: Tensor) -> Self:
        """With ``low`` such that pictures come back with the smaller error."""
        if self.low is not None:
            return self
        tried = [replace(self, low=low) for low in (0.0, -1.0)]
        errors = [(each.decode(each.encode(images)) - images).square().mean().item() for each in tried]
        errors = [error if math.isfinite(error) else math.inf for error in errors]
        return tried[errors.index(min(errors))]

    def encode(self, images: Tensor) -> Tensor:
        """See :meth:`.Autoencoder.encode`."""
        return self.posterior(images)[0]

    def posterior(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """See :meth:`.Autoencoder.posterior`."""
        low = self.low or 0.0
        out = _program(self.encoder)(low + (images + 1) * ((1 - low) / 2), "encode pictures of shape")
        taken = _program(self.decoder).channels
        if taken is None or out.shape[1] == taken:
            return out, None
        if out.shape[1] != 2 * taken:
            raise ValueError(
                f"encoder and decoder do not fit each other: {printable(self.encoder)} makes latents of "
                f"{out.shape[1]} channels, and {printable(self.decoder)} takes {taken}"
            )
        mean, log_variance = out.chunk(2, 1)
        return mean, (log_variance.clamp(-30, 20) / 2).exp()

    def decode(self, latents: Tensor) -> Tensor:
        """See :meth:`.Autoencoder.decode`."""
        low = self.low or 0.0
        return (_program(self.decoder)(latents, "decode latents of shape") - low) * (2 / (1 - low)) - 1


def _pair(text: str) -> tuple[Path, Path] | None:
    """The encoder and the decoder that a text names; None if it names nothing of ONNX.

    Raises:
        OSError: a file is missing.
        ValueError: it is not clear which they are.
    """
    first, comma, second = text.partition(",")
    path = Path(text).expanduser()
    if comma and first.endswith(_SUFFIX) and second.endswith(_SUFFIX) and not path.exists():
        pair = Path(first).expanduser(), Path(second).expanduser()
    elif path.suffix == _SUFFIX and path.is_file():
        stem = path.stem.lower()
        mine = next((word for word in ("encoder", "decoder") if word in stem), None)
        other = {"encoder": "decoder", "decoder": "encoder"}.get(mine or "")
        if mine is None or other is None:
            raise ValueError(
                f"{printable(text)} is called neither encoder nor decoder: name both files, ENCODER.onnx,DECODER.onnx"
            )
        at = stem.index(mine)
        fellow = path.with_name(path.stem[:at] + other + path.stem[at + len(mine) :] + path.suffix)
        pair = (path, fellow) if mine == "encoder" else (fellow, path)
    elif path.is_dir():
        files = [*path.glob(f"*{_SUFFIX}"), *path.glob(f"*coder/*{_SUFFIX}")]
        found = {
            word: [file for file in files if word in file.relative_to(path).as_posix().lower()]
            for word in ("encoder", "decoder")
        }
        if not any(found.values()):
            return None
        for word, several in found.items():
            if len(several) != 1:
                many = "no file is" if not several else f"{len(several)} files are"
                raise ValueError(f"in {printable(text)} {many} called {word}: name both, ENCODER.onnx,DECODER.onnx")
        pair = found["encoder"][0], found["decoder"][0]
    else:
        return None
    for file in pair:
        if not file.is_file():
            raise FileNotFoundError(f"there is no file {printable(str(file))}")
    return pair


def _program(path: str) -> _Program:
    """The program in a file, opened once while the file stays as it is."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file {printable(path)}") from None
    return _opened(path, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=4)
def _opened(path: str, changed: int, size: int) -> _Program:
    return _Program(Path(path))


class _Program:
    """A network in ONNX with one input and one output.

    Args:
        path: the file.

    Attributes:
        channels: of the input; None if the file leaves them open.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds what is not run.
    """

    def __init__(self, path: Path) -> None:
        runtime, content = _package("onnxruntime"), _checked(path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.use_deterministic_compute = True
        options.log_severity_level = _FATAL_ONLY
        self._name = printable(str(path))
        try:
            self._session = runtime.InferenceSession(
                content or str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            (given,), (made,) = self._session.get_inputs(), self._session.get_outputs()
            self._input, self._sizes = given.name, tuple(given.shape)
        except Exception as error:  # ONNX Runtime has many types, and none in common
            raise ValueError(f"{self._name} cannot be run: {told(error)}") from None
        if given.type not in _TYPES or made.type not in _TYPES:
            raise ValueError(f"{self._name} takes {given.type} and makes {made.type}: expected floating point")
        self._type = _TYPES[given.type]
        self.channels = next((size for size in self._sizes[1:2] if isinstance(size, int)), None)

    def __call__(self, x: Tensor, doing: str) -> Tensor:
        wanted = self._sizes
        fits = len(wanted) == x.ndim and all(
            not isinstance(side, int) or side == size for side, size in zip(wanted[1:], x.shape[1:], strict=True)
        )
        if not fits:
            raise ValueError(
                f"{self._name} cannot {doing} {tuple(x.shape[1:])}: it takes {' x '.join(map(str, wanted[1:]))}"
            )
        size = wanted[0] if isinstance(wanted[0], int) else len(x)
        if size < 1 or len(x) % size:
            raise ValueError(f"{self._name} takes {size} at a time: export it with an open batch size")
        pieces = [self._run(x[start : start + size], doing) for start in range(0, len(x), size)]
        return torch.cat(pieces).to(x.dtype)

    def _run(self, x: Tensor, doing: str) -> Tensor:
        try:
            out = torch.from_numpy(self._session.run(None, {self._input: x.to("cpu", self._type).numpy()})[0])
        except Exception as error:
            raise ValueError(f"{self._name} cannot {doing} {tuple(x.shape[1:])}: {told(error)}") from None
        if out.ndim != x.ndim or len(out) != len(x) or not out.numel():
            raise ValueError(f"{self._name} makes {tuple(out.shape)} of {tuple(x.shape)}: expected one of each")
        return out.float()


def _package(name: str) -> Any:
    if importlib.util.find_spec(name) is None:
        raise ValueError("autoencoders in ONNX need packages that are not installed: pip install 'elucidiff[onnx]'")
    return importlib.import_module(name)


def _checked(path: Path) -> bytes | None:
    """The content of a file whose program can be run; None where weights beside it belong to it.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged, or holds what is not run.
    """
    onnx, name = _package("onnx"), printable(str(path))
    with open_regular(path) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{name} is larger than an ONNX file can be")
    try:
        messages = list(_messages(onnx.load_model_from_string(content)))
    except Exception as error:  # of protobuf
        raise ValueError(f"{name} is no ONNX file, or damaged: {told(error)}") from None
    outside = False
    for message in messages:
        if isinstance(message, onnx.NodeProto) and (message.op_type in _REFUSED or message.domain not in _DOMAINS):
            what = printable(f"{message.domain}{'.' if message.domain else ''}{message.op_type}"[:80])
            raise ValueError(f"{name} holds the operator {what}, which is not run: autoencoders need none such")
        if isinstance(message, onnx.TensorProto) and message.data_location == onnx.TensorProto.EXTERNAL:
            _check_place(path, {entry.key: entry.value for entry in message.external_data}.get("location", ""))
            outside = True
    return None if outside else content


def _messages(message: Any) -> Iterator[Any]:
    """A message of protobuf, and all within it."""
    waiting = [message]
    while waiting:
        current = waiting.pop()
        yield current
        for field, value in current.ListFields():
            if field.type == field.TYPE_STRING and not _is_text(value):
                raise ValueError("a name in it is not UTF-8")
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) or (not isinstance(value, bytes) and all(isinstance(each, str) for each in value))


def _check_place(path: Path, location: str) -> None:
    """Refuse weights that are not in a regular file beside the program."""
    beside = path.parent / location
    inside = Path(location).name == location not in ("", ".", "..") and "\\" not in location
    if not inside or beside.is_symlink() or not beside.is_file():
        raise ValueError(
            f"{printable(str(path))} has weights in {printable(location[:100])!r}, which is no file beside it, and "
            "is not read"
        )

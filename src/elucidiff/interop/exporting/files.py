"""Writing ``.onnx`` and ``.pt2`` files, with what they are inside, and the check that they give the same numbers."""

from __future__ import annotations

import importlib
import json
import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import elucidiff
from elucidiff.data.scaling import Pixels, scaling_of
from elucidiff.denoisers.backends.onnx import is_installed
from elucidiff.denoisers.backends.pytorch import in_one_line
from elucidiff.denoisers.base import DenoiserLike, DenoiserModule, as_denoiser
from elucidiff.denoisers.conditions import conditions_from
from elucidiff.files import write_whole
from elucidiff.interop.diffusers.autoencoder import Autoencoder
from elucidiff.interop.exporting.course import Course, course_of
from elucidiff.interop.exporting.programs import DecoderProgram, DenoiserProgram, LabelInput, SamplerProgram
from elucidiff.sampling.sampler import Sampler, SamplerChoice

SUFFIXES = (".onnx", ".pt2")
"""Of the files: ONNX, and programs of ``torch.export``."""

TOLERANCE = 1e-4
"""The largest difference from the library's own result, as a part of the largest value."""

FORMAT = "elucidiff-exported"
VERSION = 1

_FLOAT32_ALONE = ("Atan", "Cos", "Erf", "Tan")
_LARGEST_ONNX = 2**31 - 2**24
_SMALL = 63
_EXAMPLES = 2  # samples to trace with; one would be taken for a batch that is always one


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: where it is.
        about: what is kept inside, as JSON-able values: see :func:`export`.
        difference: the largest difference from the library's result on one random batch, as a part of the largest
            value.

    >>> import elucidiff as ed
    >>> made = ed.interop.Exported(Path("halved.onnx"), {"nfe": 7}, difference=2e-7)
    >>> made.path.suffix, made.about["nfe"]
    ('.onnx', 7)
    """

    path: Path
    about: dict[str, Any]
    difference: float


def export(
    denoiser: DenoiserLike,
    path: str | os.PathLike[str],
    sampler: SamplerChoice = None,
    *,
    guide: DenoiserLike | None = None,
    labels: object = None,
    autoencoder: Autoencoder | None = None,
) -> Exported:
    """Write a denoiser, or a whole sampler with fixed steps, as a file that runs without elucidiff.

    A sampler's file takes ``latents`` (B, C, *spatial) of unit variance, float32, and returns ``samples``: what
    :func:`elucidiff.sample` returns for them. Without a sampler, it takes ``x`` and ``sigma`` (B,), and returns
    ``denoised``, D(x; sigma). The size of the batch is open. Where the model takes labels, the file does:

    ========== ==================================================================================
    classes    ``labels``: the numbers of the classes (B,), int64; -1 is no label
    vectors    ``labels``: (B, label_dim), float32
    conditions as in the example ``labels``, each (B, ...), by its name, or ``labels`` if it is one
    ========== ==================================================================================

    A sampler that draws fresh noise takes one more input, ``noise`` (draws, B, C, *spatial): what ``noise(x, index)``
    of :func:`elucidiff.sample` returned, in the order of its calls. The solver's state is float64 in the file, too;
    the network computes in its own type. Guidance with an interval evaluates both branches at every noise level.

    What the file is, is inside as JSON under ``elucidiff`` (ONNX: ``metadata_props``; .pt2: the extra file
    ``elucidiff.json``): the sampler, its noise levels and evaluations, shapes, units, classes, the range of noise
    levels, the model's facts and the version.

    Args:
        denoiser: D.
        path: a file, .onnx (the extra ``onnx``) or .pt2.
        sampler: whose run the file makes, see :data:`.SamplerChoice`; None for the denoiser alone.
        guide: the worse model of autoguidance, where the sampler guides by one.
        labels: for a denoiser of conditions: an example, a tensor or a mapping of tensors, with the shapes to come.
        autoencoder: of a latent model of diffusers (:func:`.load_autoencoder`): the file of a sampler then returns
            ``images``, what it decodes the samples to, in [-1, 1] and not clamped.

    Returns:
        What was written; it has been run on one random batch and compared.

    Raises:
        ValueError: the suffix is none of these, a package is missing, the denoiser does not say the shape of its
            samples, the solver has no fixed steps, a network cannot be exported, or the file gives other numbers.
        OSError: the file cannot be written.

    >>> import elucidiff as ed, torch
    >>> class Halved(torch.nn.Module):
    ...     sample_shape = (1, 4)
    ...     def forward(self, x, c_noise):
    ...         return x / 2
    >>> denoiser = ed.Denoiser(Halved(), ed.preconditioning.EDM())
    >>> made = ed.interop.export(denoiser, "halved.pt2", "heun steps=karras:n=4")  # doctest: +SKIP
    >>> z = torch.randn(3, 1, 4)
    >>> x = torch.export.load("halved.pt2").module()(z)  # doctest: +SKIP
    """
    where = Path(path)
    if where.suffix not in SUFFIXES:
        raise ValueError(f"{where} ends in none of {', '.join(SUFFIXES)}: name a file of one of these kinds")
    if where.suffix == ".onnx" and not is_installed():
        raise ValueError("an ONNX file needs packages that are not installed: pip install 'elucidiff[onnx]'")
    if where.is_dir():
        raise IsADirectoryError(f"{where} is a folder: name a file")
    given = as_denoiser(denoiser)
    chosen = None if sampler is None else Sampler.chosen(sampler, given)
    if chosen is not None:
        given = chosen.guided(given, guide)
    elif guide is not None:
        raise ValueError("a guide would have no effect without a sampler that guides")
    if autoencoder is not None and chosen is None:
        raise ValueError("an autoencoder would have no effect without a sampler, whose samples it decodes")
    shape = given.sample_shape
    if not shape:
        raise ValueError("the denoiser does not say what shape its samples have, which a file must know")
    takes = LabelInput(given.known_labels, None if labels is None else conditions_from(labels))
    course = None if chosen is None else course_of(chosen, given)
    _check_size(given, where)
    made = _Made(DenoiserProgram(given, takes, torch.float32 if course is None else torch.float64), shape)
    if course is not None:  # the loop around the network is traced by another tracer, which is given its operations
        decode = None if autoencoder is None else _Made(DecoderProgram(autoencoder), shape).operations()
        made = _Made(SamplerProgram(made.operations(), course, takes, decode), shape)
    about = _about(given, chosen, course, made.program, shape)
    expected = _expected(given, chosen, made.inputs(_EXAMPLES + 1), takes)
    if autoencoder is not None:
        expected = autoencoder.decode(expected.float().cpu())
        about |= {"shape": list(expected.shape[1:]), "latent_shape": list(shape), "values": Pixels().inverse}
    difference: list[float] = []

    def write(file: Path) -> None:
        made.write(file, where.suffix, about)
        difference.append(made.difference(file, where.suffix, expected))

    write_whole(where, write)
    return Exported(where, about, difference[0])


@torch.no_grad()
def _expected(
    denoiser: DenoiserModule, sampler: Sampler | None, given: Mapping[str, Tensor], takes: LabelInput
) -> Tensor:
    """The library's own result for some inputs."""
    first, *others = given.values()
    if sampler is None:
        labels = takes.conditions(tuple(others[1:]))
        denoised: Tensor = denoiser(first, others[0]) if labels is None else denoiser(first, others[0], labels)
        return denoised.float()
    draws = iter(given.get("noise", ()))
    return sampler.prepare(denoiser).sample(
        denoiser,
        first.to(denoiser.device),
        labels=takes.conditions(tuple(others[1:] if "noise" in given else others)),
        noise=lambda x, _: next(draws).to(x),
    )


def _about(
    denoiser: DenoiserModule,
    sampler: Sampler | None,
    course: Course | None,
    program: DenoiserProgram | SamplerProgram | DecoderProgram,
    shape: Sequence[int],
) -> dict[str, Any]:
    """The description that a file carries."""
    known = denoiser.known_labels
    about: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "elucidiff": elucidiff.__version__,
        "kind": "denoiser" if course is None else "sampler",
        "inputs": [*program.names, *program.labels.examples(1)],
        "output": program.output,
        "shape": list(shape),
        "values": scaling_of(denoiser).inverse,
        "sigma_min": denoiser.sigma_min,
        "sigma_max": denoiser.sigma_max,
        "labels": {"kind": known.kind, "dim": known.dim, "names": list(known.names), "numbers": list(known.numbers)},
        "facts": denoiser.facts,
    }
    if sampler is not None and course is not None:
        about["sampler"] = sampler.to_plain()
        about["sampler_text"] = sampler.to_text()
        about["evaluations"] = course.evaluations
        about["sigmas"] = course.sigmas.tolist()
        about["draws"] = course.draws
    plain: dict[str, Any] = json.loads(json.dumps(_finite(about)))
    return plain


def _finite(value: Any) -> Any:
    """Infinite numbers as text, since JSON has none."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not abs(value) < float("inf") else value


def _check_size(program: torch.nn.Module, where: Path) -> None:
    size = sum(each.numel() * each.element_size() for each in (*program.parameters(), *program.buffers()))
    if where.suffix == ".onnx" and size > _LARGEST_ONNX:
        raise ValueError(f"an ONNX file holds 2 GB, and the weights take {size / 2**30:.1f} GB: write a .pt2 file")


class _Made:
    """A program, traced; how it is written, and compared."""

    def __init__(self, program: DenoiserProgram | SamplerProgram | DecoderProgram, shape: Sequence[int]) -> None:
        self.program = program
        self.shape = tuple(shape)
        given = self.inputs(_EXAMPLES)
        try:
            try:
                self.traced = self._trace(given, torch.export.Dim("batch"))
            except torch._dynamo.exc.UserError:  # networks of diffusers lay out larger batches otherwise
                self.traced = self._trace(given, torch.export.Dim("batch", max=_SMALL))
        except Exception as error:  # a network of somebody can fail to be traced in any way
            raise ValueError(f"the model cannot be exported ({in_one_line(error)})") from error
        _forget_origins(self.traced)

    def operations(self) -> torch.nn.Module:
        """The traced program, as a module that can be traced again: constants as buffers, nothing unused."""
        module: Any = self.traced.module()
        for inner in module.modules():
            for name, value in [each for each in vars(inner).items() if isinstance(each[1], Tensor)]:
                delattr(inner, name)
                inner.register_buffer(name, value)
        module.graph.eliminate_dead_code(lambda node: "promote_types" not in str(node.target))
        module.recompile()
        made: torch.nn.Module = module
        return made

    def inputs(self, batch: int) -> dict[str, Tensor]:
        """Inputs by name, for ``batch`` samples."""
        before = dict(zip(self.program.names, self.program.examples(self.shape, batch), strict=True))
        return {**before, **self.program.labels.examples(batch)}

    def _trace(self, given: Mapping[str, Tensor], batch: Any) -> torch.export.ExportedProgram:
        sizes = [{1 if name == "noise" else 0: batch} for name in given]
        with torch.no_grad(), _quiet():
            return torch.export.export(self.program, tuple(given.values()), dynamic_shapes=self._dynamic(sizes))

    def _dynamic(self, sizes: list[dict[int, Any]]) -> tuple[Any, ...]:
        named = 2 if isinstance(self.program, DenoiserProgram) else 1
        return (*sizes[:named], tuple(sizes[named:])) if len(sizes) > named else tuple(sizes)

    def write(self, file: Path, suffix: str, about: Mapping[str, Any]) -> None:
        """Write the file."""
        text = json.dumps(about)
        if suffix == ".pt2":
            with _quiet():
                torch.export.save(self.traced, file, extra_files={"elucidiff.json": text})
            return
        try:
            with torch.no_grad(), _quiet():
                made = torch.onnx.export(
                    self.traced,
                    dynamo=True,
                    verbose=False,
                    input_names=list(self.inputs(1)),
                    output_names=[self.program.output],
                )
        except Exception as error:  # an exporter can fail in any way
            raise ValueError(f"the model cannot be written as ONNX ({in_one_line(error)})") from error
        assert made is not None
        made.model.metadata_props["elucidiff"] = text
        for node in made.model.graph.all_nodes():
            node.metadata_props.clear()
        _narrowed(made.model)
        made.save(file)

    @torch.no_grad()
    def difference(self, file: Path, suffix: str, expected: Tensor) -> float:
        """The distance of the file's result from the library's, as a part of the largest value, on another batch.

        Raises:
            ValueError: it is more than rounding makes.
        """
        given = self.inputs(_EXAMPLES + 1)
        try:
            found = (
                _from_onnx(file, given) if suffix == ".onnx" else torch.export.load(file).module()(*given.values())
            )
        except Exception as error:  # a runtime can fail in any way
            raise ValueError(f"the file that was written cannot be run ({in_one_line(error)})") from error
        expected = expected.cpu()
        gap = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-12))
        if not gap <= TOLERANCE:
            raise ValueError(f"the file gives other numbers: they differ by {gap:.1e} of the largest value")
        return gap


def _from_onnx(file: Path, given: Mapping[str, Tensor]) -> Tensor:
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    wanted = [entry.name for entry in session.get_inputs()]
    (found,) = session.run(None, {name: given[name].numpy() for name in wanted})
    return torch.from_numpy(found)


def _narrowed(model: Any) -> None:
    """Have the functions that ONNX Runtime knows in float32 alone computed in that: a network sees times so, too."""
    ir = importlib.import_module("onnx_ir")
    for node in list(model.graph.all_nodes()):
        if node.op_type not in _FLOAT32_ALONE or node.inputs[0].dtype != ir.DataType.DOUBLE:
            continue
        narrow = ir.node("Cast", [node.inputs[0]], {"to": ir.DataType.FLOAT})
        wide = ir.node("Cast", [node.outputs[0]], {"to": ir.DataType.DOUBLE})
        node.outputs[0].replace_all_uses_with(wide.outputs[0])
        wide.replace_input_with(0, node.outputs[0])
        node.replace_input_with(0, narrow.outputs[0])
        node.outputs[0].dtype, wide.outputs[0].dtype = ir.DataType.FLOAT, ir.DataType.DOUBLE
        node.graph.insert_before(node, narrow)
        node.graph.insert_after(node, wide)


def _forget_origins(program: torch.export.ExportedProgram) -> None:
    """Remove where in whose code each operation came from: most of a file, and nobody else's business."""
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                for name in ("stack_trace", "nn_module_stack", "source_fn_stack"):
                    node.meta.pop(name, None)


class _quiet:
    """No warnings and no news of an exporter's insides."""

    def __enter__(self) -> None:
        self._log = logging.getLogger("torch.onnx")
        self._level = self._log.level
        self._log.setLevel(logging.ERROR)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *error: Any) -> None:
        self._warnings.__exit__(*error)
        self._log.setLevel(self._level)

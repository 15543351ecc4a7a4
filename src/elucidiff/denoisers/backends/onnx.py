"""The backend ``onnx``: the network exported to ONNX and computed by ONNX Runtime."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elucidiff.denoisers.backends.pytorch import Compute, in_one_line, one_a_sample
from elucidiff.networks.magnitude_preserving import folded

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_TYPES = {"tensor(float)": torch.float32, "tensor(int64)": torch.int64}
_ERRORS_ONLY = 3  # ONNX Runtime's severity


def is_installed() -> bool:
    """True if the packages of the extra ``onnx`` are there."""
    return all(importlib.util.find_spec(name) is not None for name in _PACKAGES)


def onnx(
    network: nn.Module,
    device: torch.device,
    threads: int,
    file: Path,
    *,
    dtype: torch.dtype = torch.float32,
    time_dtype: torch.dtype = torch.float32,
) -> Compute:
    """The network as ONNX Runtime computes it, in batches of any size.

    Args:
        network: F, as it is loaded, with the attributes ``sample_shape`` and ``label_dim``; it stays as it is.
        device: where to compute.
        threads: of a CPU.
        file: where the exported network is kept. One that is there is taken: another process has exported it.
        dtype: of what the network sees.
        time_dtype: of the noise labels, which may be whole numbers.

    Raises:
        ValueError: packages are missing, the network is not in float32 or cannot be exported, or ONNX Runtime does
            not know the device.
    """
    if not is_installed():
        raise ValueError("the backend onnx needs packages that are not installed: pip install 'elucidiff[onnx]'")
    if dtype != torch.float32:
        raise ValueError(f"the backend onnx computes in float32, but the network in {dtype}: use the backend eager")
    runtime = importlib.import_module("onnxruntime")
    if _PROVIDERS.get(device.type) not in runtime.get_available_providers():
        raise ValueError(
            f"ONNX Runtime does not compute on {device.type} here: use the backend eager"
            + (", or install onnxruntime-gpu in place of onnxruntime" if device.type == "cuda" else "")
        )
    if not file.exists():
        try:
            _export(folded(network).cpu(), network, time_dtype, file)
        except Exception as error:  # an exporter can fail in any way
            raise ValueError(
                f"the network cannot be exported to ONNX ({in_one_line(error)}): use the backend eager"
            ) from error
    return _Session(runtime, file, device, threads)


def _export(network: nn.Module, like: Any, time_dtype: torch.dtype, file: Path) -> None:
    """Write the network with an open batch size."""
    batch = torch.export.Dim("batch")
    given = [torch.zeros(2, *like.sample_shape), torch.zeros(2, dtype=time_dtype)]
    width = like.label_dim + getattr(like, "label_presence", False)
    given += [torch.zeros(2, width)] if width else []
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network, tuple(given), dynamo=True, verbose=False, dynamic_shapes=[{0: batch} for _ in given]
            )
    finally:
        log.setLevel(before)
    assert program is not None
    program.save(file)


class _Session:
    """ONNX Runtime with a network, as a function of tensors.

    Neither is copied on the way: it reads the inputs and writes the output where PyTorch has them.
    """

    def __init__(self, runtime: Any, file: Path, device: torch.device, threads: int) -> None:
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # Threads that wait would take the cores of other processes.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.use_deterministic_compute = True
        options.log_severity_level = _ERRORS_ONLY
        place = {"device_id": device.index or 0} if device.type == "cuda" else {}
        self._device = device
        self._session = runtime.InferenceSession(str(file), options, providers=[(_PROVIDERS[device.type], place)])
        self._inputs = [(entry.name, _TYPES[entry.type]) for entry in self._session.get_inputs()]
        [output] = self._session.get_outputs()
        self._output, self._output_sizes = output.name, output.shape[1:]

    def __call__(self, x: Tensor, noise_labels: Tensor, class_labels: Tensor | None) -> Tensor:
        if x.device.type != self._device.type:
            raise ValueError(
                f"the network was made ready for {self._device.type}, but samples are on {x.device.type}"
            )
        arguments = (each for each in one_a_sample(x, noise_labels, class_labels) if each is not None)
        given = {name: value.to(kind) for (name, kind), value in zip(self._inputs, arguments, strict=True)}
        output = torch.empty(len(x), *self._output_sizes, device=x.device)
        binding = self._session.io_binding()
        for name, value in given.items():
            _bind(binding.bind_input, name, value)
        _bind(binding.bind_output, self._output, output)
        if x.is_cuda:
            torch.cuda.current_stream(x.device).synchronize()  # ONNX Runtime has a stream of its own
        self._session.run_with_iobinding(binding)
        return output


def _bind(bind: Any, name: str, value: Tensor) -> None:
    kind = str(value.dtype).removeprefix("torch.")
    bind(name, value.device.type, value.device.index or 0, kind, tuple(value.shape), value.data_ptr())

"""The model card of a saved model: ``README.md`` with the YAML header that the Hugging Face Hub reads.

Everything in it is what the model's description says; what that does not say is "unknown". Of a card that somebody
has edited, nothing is replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elucidiff.denoisers.tuned import TUNED
from elucidiff.files import write_whole

FILE = "README.md"

_MARK = "<!-- written by elucidiff: "
_UNKNOWN = "unknown"
_LISTED = 20
_LONGEST = 200


def write_card(folder: Path, description: Mapping[str, Any], *, replaces: Path | None = None) -> None:
    """Write the card of the model in ``folder``, unless the one that is there is somebody's own.

    Args:
        folder: of the model; made if missing.
        description: what its ``model.json`` holds, or the like of another library's model.
        replaces: the folder whose place this one will take, if it is another one.

    Raises:
        OSError: the card cannot be written.
    """
    named = replaces or folder
    file = named / FILE
    if not file.exists() or _is_ours(file):
        text = card(description, named.resolve().name)
        write_whole(folder / FILE, text + f"{_MARK}{_digest(text)} -->\n")
    elif replaces is not None:
        write_whole(folder / FILE, file.read_bytes())


def card(description: Mapping[str, Any], name: str = "model") -> str:
    """The text of a model card.

    Args:
        description: what ``model.json`` holds. Of its facts, ``data`` and ``provenance`` are told, and ``license``
            and ``metrics`` (numbers by name) where somebody wrote them there.
        name: of the model.

    >>> text = card({"data": {"name": "digits", "count": 1797}, "license": "mit"}, "digits")
    >>> "license: \\"mit\\"" in text, "| training data | digits |" in text
    (True, True)
    """
    data, provenance = _mapping(description.get("data")), _mapping(description.get("provenance"))
    network, metrics = _mapping(description.get("network")), _mapping(description.get("metrics"))
    shape = network.get("sample_shape") or data.get("shape")
    tuned = isinstance(description.get(TUNED), Mapping)
    header = _header(description, name, data, shape, metrics)
    parts = [
        "---\n" + "".join(f"{key}: {json.dumps(value)}\n" for key, value in header.items()) + "---\n",
        f"# {_line(name)}\n",
        _WHAT + _WHAT_IF_TUNED * tuned,
        "## Model\n",
        _table(_model_rows(description, network, shape)),
        "## Data\n",
        _table(_data_rows(data)),
        "## Metrics\n",
        _table([(key, value) for key, value in metrics.items()]) if metrics else "Not evaluated.\n",
        "## Sampling\n",
        _SAMPLING.replace(', "karras:n=18"', "") if tuned else _SAMPLING,
        "## Provenance\n",
        _table(_provenance_rows(provenance, _mapping(description.get("home")))),
        "## Licence\n",
        f"{_line(description.get('license', _UNKNOWN))}\n",
    ]
    return "\n".join(parts)


_WHAT = """\
A diffusion model D(x; sigma), the expected clean sample of x = sample + sigma noise (Karras et al. 2022, arXiv
2206.00364).
"""

_WHAT_IF_TUNED = """\
Tuned for few evaluations: its D leads straight to the sample (Song et al. 2023, arXiv 2303.01469), and is no expected
value any more, so that there is no ODE. One, two or four evaluations make a sample.
"""

_SAMPLING = """\
```python
import elucidiff as ed

denoiser = ed.load("path/to/this/folder")  # reads it as data: nothing in it is run
samples = ed.sample(denoiser, 16, "karras:n=18")
```

    elucidiff sample path/to/this/folder --seeds 0-15 --out samples
"""


def _header(
    description: Mapping[str, Any],
    name: str,
    data: Mapping[str, Any],
    shape: Any,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """The part that the Hub reads; see https://huggingface.co/docs/hub/model-cards."""
    header: dict[str, Any] = {
        "library_name": "elucidiff",
        "license": _line(description.get("license", _UNKNOWN)),
        "tags": ["elucidiff", "diffusion"],
    }
    pictures = isinstance(shape, Sequence) and len(shape) == 3 and data.get("dtype", "uint8") == "uint8"
    if pictures and not _labels(description, data):
        header["pipeline_tag"] = "unconditional-image-generation"
    numbers = {key: value for key, value in metrics.items() if type(value) in (int, float)}
    if numbers:
        kind = header.get("pipeline_tag", "other")
        dataset = _line(data.get("name", _UNKNOWN))
        results = [{"type": _line(key), "value": value} for key, value in numbers.items()]
        about = {"task": {"type": kind}, "dataset": {"name": dataset, "type": dataset}, "metrics": results}
        header["model-index"] = [{"name": _line(name), "results": [about]}]
    return header


def _labels(description: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    return _mapping(description.get("network")).get("label_dim") or data.get("label_dim")


def _model_rows(description: Mapping[str, Any], network: Mapping[str, Any], shape: Any) -> list[tuple[str, object]]:
    part = _mapping(network.get("part"))
    settings = {key: value for key, value in part.items() if key != "type"}
    return [
        ("network", part.get("type", _UNKNOWN)),
        ("its settings", settings or _UNKNOWN),
        ("parameters", description.get("parameters", _UNKNOWN)),
        ("sample shape", shape or _UNKNOWN),
        ("preconditioning", description.get("preconditioning", _UNKNOWN)),
        ("SHA-256 of the weights", description.get("weights_sha256") or _UNKNOWN),
    ]


def _data_rows(data: Mapping[str, Any]) -> list[tuple[str, object]]:
    told = {
        "training data": "name",
        "samples": "count",
        "values": "dtype",
        "mean": "mean",
        "standard deviation": "sigma_data",
        "SHA-256": "sha256",
        "kind of labels": "label_kind",
        "classes": "class_names",
        "training samples of each": "class_counts",
    }
    return [(words, data.get(key, _UNKNOWN)) for words, key in told.items()]


def _provenance_rows(provenance: Mapping[str, Any], home: Mapping[str, Any]) -> list[tuple[str, object]]:
    rows = [(key.replace("_", " "), value) for key, value in provenance.items() if key != "training"]
    training = _mapping(provenance.get("training"))
    rows += [(f"training: {key.replace('_', ' ')}", value) for key, value in training.items()]
    if home:
        rows.append(("made by", home.get("format", _UNKNOWN)))
    return rows or [("how it came to be", _UNKNOWN)]


def _table(rows: Sequence[tuple[object, object]]) -> str:
    lines = [f"| {_line(name)} | {_cell(value)} |" for name, value in rows]
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def _cell(value: object) -> str:
    """A value in one line: what is off or long is left out."""
    if isinstance(value, Mapping):
        kept = [f"{_line(key)} {_cell(entry)}" for key, entry in value.items() if entry not in (None, False, {}, [])]
        return _line(", ".join(kept) or "none")
    if isinstance(value, list | tuple):
        more = ", ..." if len(value) > _LISTED else ""
        return _line(", ".join(_cell(entry) for entry in value[:_LISTED]) + more)
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value:,}" if type(value) is int and abs(value) >= 10_000 else _line(value)


def _line(value: object) -> str:
    """Text of somebody in one line of a table, without a meaning of its own to whoever shows it."""
    text = " ".join(str(value).split())
    text = "".join(each if each.isprintable() else "?" for each in text).replace("|", "\\|").replace("<", "&lt;")
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "..."


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_ours(file: Path) -> bool:
    """True if a card is as :func:`write_card` wrote it."""
    try:
        text, mark, rest = file.read_text(encoding="utf-8").rpartition(_MARK)
    except (OSError, UnicodeDecodeError):
        return False
    return bool(mark) and rest == f"{_digest(text)} -->\n"

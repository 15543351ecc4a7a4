"""Measurements on disk, so that one that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elucidiff.files import write_whole
from elucidiff.sampling.likelihood.measuring import ImageBits, repeat_error, summary
from elucidiff.untrusted import read_json


def write_record(path: Path, facts: Mapping[str, Any], measured: Sequence[ImageBits], asked: int) -> None:
    """Write what was measured so far as JSON, whole.

    Args:
        path: the file.
        facts: what decides the figures: :func:`read_record` takes them for no other measurement's.
        measured: the images so far; at least one.
        asked: how many images were asked for.

    Raises:
        OSError: the file cannot be written.
    """
    mean, error, of_an_image = summary(measured)
    count = sum(len(each.bits) for each in measured)
    record = {
        "measurement": dict(facts),
        "summary": {
            "bits_per_dim": mean,
            "standard_error": error,
            "standard_error_of_an_image": of_an_image,
            "images": len(measured),
            "images_asked_for": asked,
            "nfe_mean": sum(each.nfe for each in measured) / count,
            "backward_passes_mean": sum(each.products for each in measured) / count,
        },
        "images": [
            {
                "image": each.image,
                "bits_per_dim": each.mean,
                "standard_error": repeat_error(each),
                "repeats": list(each.bits),
                "nfe": each.nfe,
                "backward_passes": each.products,
            }
            for each in measured
        ],
    }
    write_whole(path, json.dumps(record, indent=1) + "\n")


def read_record(path: Path, facts: Mapping[str, Any]) -> list[ImageBits]:
    """What was measured already; nothing if there is no file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is of another measurement, or of something else.
    """
    if not path.exists():
        return []
    try:
        record = read_json(path)
        before = dict(record["measurement"])
        measured = [
            ImageBits(
                int(each["image"]), tuple(map(float, each["repeats"])), int(each["nfe"]), int(each["backward_passes"])
            )
            for each in record["images"]
        ]
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
        raise ValueError(f"{path} is not a record of likelihoods: choose another --out, or add --overwrite") from None
    # Through JSON and back, as the other was.
    differing = [name for name, value in json.loads(json.dumps(dict(facts))).items() if before.get(name) != value]
    if differing:
        raise ValueError(
            f"{path} is of another measurement ({', '.join(differing)} differ): choose another --out, or add "
            "--overwrite"
        )
    return measured

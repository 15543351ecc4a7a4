"""Rows of tables of results with known figures."""

from __future__ import annotations

from dataclasses import replace

from elucidiff.evaluation.results import Row

BASE = Row(
    "curve", "heun", solver="heun", schedule="edm", steps="karras", rho=7.0, sigma_min=0.002, sigma_max=80.0,
    churn=0.0, guidance=1.0, budget=8, nfe=7.0, images=100, metric="fid", model="m-01234567",
    reference="digits-01234567", extractor="pca-20-01234567",
)  # fmt: skip


def measured(configuration: str, budget: int, nfe: float, values: tuple[float, ...], **columns: object) -> list[Row]:
    """A row for each seed."""
    named = replace(BASE, configuration=configuration, budget=budget, nfe=nfe, **columns)  # type: ignore[arg-type]
    return [replace(named, seed=seed, value=value) for seed, value in enumerate(values)]


CURVES = [
    *measured("heun", 8, 7, (4.0, 6.0)),
    *measured("heun", 36, 35, (1.0, 1.0)),
    *measured("dpmpp_2m", 8, 8, (2.0, 2.0), solver="dpmpp_2m"),
    *measured("heun, churn 20", 36, 35, (0.5, 1.5), churn=20.0),
    *measured("sde", 36, 36, (3.0, 3.0), solver="dpmpp_2m_sde"),
]


def trial(number: int, value: float, *, images: int = 100, **columns: object) -> Row:
    """A trial of a search."""
    return replace(
        BASE, experiment="search", configuration=f"trial {number}", value=value, images=images, seed=0, **columns
    )  # type: ignore[arg-type]

"""Objects that show themselves in notebooks."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import elucidiff as ed
from elucidiff.evaluation.ablation.report import Filled
from elucidiff.evaluation.ablation.tables import Column, Table
from elucidiff.evaluation.quality.evaluator import Measured, Quality
from elucidiff.evaluation.search.report import Measured as OfSampler
from elucidiff.evaluation.search.report import SearchResult
from elucidiff.notebooks import table_html


class Cells(HTMLParser):
    """The texts of all cells; refuses tags that are left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._open.append(tag)
        if tag in ("td", "th"):
            self.texts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("td", "th"):
            self.texts[-1] += data


def test_texts_are_escaped_and_colours_are_the_pages() -> None:
    html = table_html("<script>", [("<b>", 'a & "b"')])
    assert "<script>" not in html
    assert Cells(html).texts == ["<b>", 'a & "b"']
    assert not re.search(r"#[0-9a-f]{3}|white|black", html)


def test_samplers_designs_and_denoisers() -> None:
    sampler = Cells(ed.Sampler("karras:n=8", solver="ipndm:order=3")._repr_html_()).texts
    assert dict(zip(sampler[::2], sampler[1::2], strict=True))["steps"] == "karras:n=8"
    design = Cells(ed.table.VP._repr_html_()).texts
    assert design[:4] == ["solver", "euler", "schedule", "vp"]
    network = ed.networks.UNet((1, 8, 8), base_channels=8, channel_multipliers=(1,), blocks_per_level=1)
    denoiser = ed.Denoiser(network, ed.preconditioning.EDM())
    denoiser.facts["data"] = {"name": "<digits>"}
    denoiser.facts["provenance"] = {"images_seen": 12345}
    shown = Cells(denoiser._repr_html_()).texts
    known = dict(zip(shown[::2], shown[1::2], strict=True))
    assert known["samples"] == "1 x 8 x 8"
    assert known["trained on"] == "<digits>"
    assert known["images seen"] == "12,345"
    assert known["weights"] == f"{sum(weight.numel() for weight in network.parameters()):,}"


def test_results(tmp_path: Path) -> None:
    fid = Measured(2.512345, 0.1234, "jackknife", (2.5,))
    quality = Quality({"fid": fid}, {"fid": "FID"}, 5000, "pca-5", "digits", 1797, ())
    assert Cells(quality._repr_html_()).texts == ["FID", "2.512 ± 0.12"]
    column = Column("FID", "fid", 5)
    table = Table("T", {"heun": "", "euler": ""}, [column], {("heun", "FID"): {0: 1.0, 1: 3.0}}, {})
    assert Cells(Filled("T", [table], tmp_path)._repr_html_()).texts == ["", "FID", "heun", "2 ± 1", "euler", ""]
    found = SearchResult(tmp_path, None, {"best": (ed.Sampler(n=4), OfSampler((1.0, 2.0), 7.0))})
    assert Cells(found._repr_html_()).texts[-3:] == [ed.Sampler(n=4).to_text(), "7", "1.5 ± 0.5"]


def test_plain_repr_stays() -> None:
    assert repr(ed.Sampler()).startswith("Sampler(steps=Karras(")
    assert repr(ed.ideal.DataPosterior(torch.zeros(1, 1))).startswith("DataPosterior(")


def test_the_library_does_not_import_what_only_notebooks_need() -> None:
    code = "import sys, elucidiff; sys.exit('elucidiff.sampling' not in sys.modules and 'jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.read(Path(__file__).parents[1] / "examples" / "digits.ipynb", 4)
    nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"25,\d{3} images in \d+ s, loss 0\.\d", said)
    distances = [float(value) for value in re.findall(r"(?:samples|digits) (\d+\.\d+) \+-", said)]
    assert len(distances) == 2
    assert distances[1] < distances[0] < 5  # real digits are nearer to themselves; noise is at about 80
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 7

"""The files for containers and clusters are well formed, and the commands in them are ones that the program knows."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from elucidiff.cli.common.arguments import flags_of
from elucidiff.training.presets import preset

ROOT = Path(__file__).parents[2]
SLURM, KUBERNETES = ROOT / "examples" / "cluster" / "train.slurm", ROOT / "examples" / "cluster" / "train.yaml"


def kubernetes_script() -> str:
    service, job = yaml.safe_load_all(KUBERNETES.read_text())
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    (container,) = job["spec"]["template"]["spec"]["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in job["spec"]["template"]["spec"]["volumes"]}
    (script,) = container["args"]
    nodes = str(job["spec"]["completions"])
    assert re.search(r"--nnodes (\d+)", script)[1] == nodes  # type: ignore[index]
    assert f"{job['metadata']['name']}-0.{service['metadata']['name']}:" in script
    return str(script)


@pytest.mark.parametrize("script", [SLURM.read_text(), kubernetes_script()], ids=["slurm", "kubernetes"])
def test_scripts_parse_and_their_commands_exist(script: str) -> None:
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    joined = script.replace("\\\n", " ")
    (command,) = re.findall(r"-m elucidiff (.*)", joined)
    verb, name, *rest = shlex.split(command)
    known = {flag.name for flag in flags_of(type(preset(name)), preset(name))} | {"--run-dir", "--resume"}
    assert verb == "train"
    assert {word for word in rest if word.startswith("--")} <= known


def test_the_image_has_what_the_package_is_built_from_and_extras_that_exist() -> None:
    steps = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().split()
    copied = {word for line in re.findall(r"^COPY (.*)$", steps, re.M) for word in line.split()[:-1]}
    assert copied == {word.removeprefix("!") for word in ignored if word.startswith("!")}
    assert all((ROOT / name).exists() for name in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r"\.\[([\w,]+)\]", steps)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_the_citation_names_the_paper_and_the_licence() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert cited["license"] == project["license"]
    assert cited["title"] == project["name"]
    assert cited["preferred-citation"]["url"].endswith("2206.00364")

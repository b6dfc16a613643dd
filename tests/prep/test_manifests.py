"""Manifests and batch scripts: valid by Kubernetes' own schemas, and every command in them one that there is."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from typer.main import get_command

from greenprep.build.run import run
from greenschemas.machine import installed_version
from support.raw import tree

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = sorted((ROOT / "pipelines/kubernetes").glob("*.yaml"))
SCRIPTS = sorted((ROOT / "pipelines/slurm").glob("*.sbatch"))


def documents() -> Iterator[tuple[str, dict]]:
    for path in MANIFESTS:
        for number, document in enumerate(yaml.safe_load_all(path.read_text(encoding="utf-8"))):
            yield f"{path.name}-{number}", document


DOCUMENTS = dict(documents())
PODS = {name: one["spec"]["template"] for name, one in DOCUMENTS.items() if "template" in one["spec"]}


def program(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that some words start, and its arguments."""
    from distributed.cli.dask_scheduler import main as scheduler
    from distributed.cli.dask_worker import main as worker

    from greenprep.cli import app as prep
    from greentrain.cli import app as train

    words = words[2:] if words[:2] == ["tini", "--"] else words
    name, command, *rest = words
    if name == "dask":
        return {"scheduler": scheduler, "worker": worker}[command], rest
    return get_command({"greenprep": prep, "greentrain": train}[name]).commands[command], rest


def parses(words: list[str]) -> None:
    """Raise click's error for an option that is none, or is given no value of its kind, or an argument that lacks."""
    command, rest = program(words)
    command.make_context(command.name, [__file__ if word.endswith(".pem") else word for word in rest])


def started(image: str, container: dict) -> list[str]:
    """What runs in a container: the image's own entry point, or another."""
    own = {"greenspace-prep": "greenprep", "greenspace-train": "greentrain"}[image.partition(":")[0]]
    return [*container.get("command", ["tini", "--", own]), *container.get("args", [])]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_kubernetes_own_schema_takes_every_document(name):
    schemas = pytest.importorskip("kubernetes_validate", reason="the schemas come with kubernetes-validate")
    schemas.validate(DOCUMENTS[name], schemas.latest_version(), strict=True)


def test_the_schema_would_refuse_a_key_that_is_none():
    schemas = pytest.importorskip("kubernetes_validate", reason="the schemas come with kubernetes-validate")
    wrong = DOCUMENTS["storage.yaml-0"] | {"spec": {"accessMode": ["ReadWriteMany"]}}
    with pytest.raises(schemas.ValidationError):
        schemas.validate(wrong, schemas.latest_version(), strict=True)


@pytest.mark.parametrize("name", PODS)
def test_pods_run_commands_that_there_are_from_images_of_this_version_without_root(name):
    spec = PODS[name]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
    for container in spec["containers"]:
        assert container["image"].endswith(f":{installed_version('greenspace')}")
        parses(started(container["image"], container))


def test_what_pods_mount_and_services_look_for_is_there():
    claims = {one["metadata"]["name"] for one in DOCUMENTS.values() if one["kind"] == "PersistentVolumeClaim"}
    labels = [pod["metadata"]["labels"] for pod in PODS.values()]
    for pod in PODS.values():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounted = {mount["name"] for one in pod["spec"]["containers"] for mount in one["volumeMounts"]}
        assert mounted == volumes.keys()
        assert {
            one["persistentVolumeClaim"]["claimName"] for one in volumes.values() if "persistentVolumeClaim" in one
        } <= claims
    services = {one["metadata"]["name"]: one for one in DOCUMENTS.values() if one["kind"] == "Service"}
    for service in services.values():
        assert any(service["spec"]["selector"].items() <= one.items() for one in labels)
    text = "".join(path.read_text() for path in MANIFESTS)
    assert {name.rpartition("/")[2] for name in re.findall(r"tls://([a-z-]+)", text)} <= services.keys()


def test_the_example_of_compose_runs_commands_that_there_are():
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())["services"]
    for service in services.values():
        words = [*service.get("entrypoint", ["tini", "--", "greenprep"]), *service.get("command", [])]
        if len(words) > 3:
            parses(words)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_batch_scripts_are_bash_and_use_options_that_there_are(path):
    subprocess.run(["bash", "-n", path], check=True)
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    tls = (re.findall(r"^tls=\((.+)\)$", text, re.MULTILINE) or [""])[0].replace("$scratch", "s")
    found = re.findall(r"^(?:srun |exec )?((?:dask|greenprep|greentrain) .+?)(?: &)?$", text, re.MULTILINE)
    assert found
    for line in found:
        line = line.replace('"${tls[@]}"', tls)
        parses([re.sub(r"\$\{?\w+(:-(.*?))?\}?", "x", word.strip('"')) for word in line.split()])


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("bash")), reason="needs bash and openssl")
def test_the_batch_script_builds_the_store_where_slurm_is_played_by_this_machine(empty_collection):
    for area in range(3):
        empty_collection.add(area, 1)
    folder = empty_collection.folder
    (folder / "bin").mkdir()
    (folder / "bin/srun").write_text('#!/bin/bash\nexec "$@"\n')
    (folder / "bin/srun").chmod(0o755)
    own = Path(sys.executable).parent
    path = os.pathsep.join([str(folder / "bin"), str(own), os.environ["PATH"]])
    job = [shutil.which("bash"), ROOT / "pipelines/slurm/run.sbatch", empty_collection.recipe("there")]
    env = os.environ | {"PATH": path, "SLURM_JOB_ID": "7", "VENV": ""}
    done = subprocess.run(job, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(folder.glob(".greenprep-*"))
    run(empty_collection.recipe("here"), workers=0)
    assert tree(folder / "there.zarr") == tree(folder / "here.zarr")

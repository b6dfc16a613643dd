"""A folder with all that `check.py` needs on a machine without a network: code, wheels, a store.

    python tests/gpu/pack.py city.zarr [--out build/gpu-kit] [--python 3.12] [--have tensorstore,scipy,scikit-learn]

torch, Triton and numpy are expected there, and what `--have` names. The versions are those of this environment.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
THERE = {"torch", "triton", "numpy"}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
RUN = """#!/bin/sh
# Every argument goes to check.py: ./run.sh --minutes 2
cd "$(dirname "$0")" || exit 2
python3 -m pip install -q --no-index --no-deps --upgrade --target site wheels/*.whl || exit 2
export PYTHONPATH="$PWD/site:$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
exec python3 check.py --store store.zarr --json check.json "$@"
"""


def needed(package: str, extra: str, there: set[str], python: str) -> set[str]:
    """Names of all that a package needs with an extra, without what is there and what only that needs."""
    found: set[str] = set()
    todo = [(package, extra)]
    while todo:
        name, extra = todo.pop()
        for text in requires(name) or ():
            wanted = Requirement(text)
            key = re.sub(r"[-_.]+", "-", wanted.name).lower()
            marker = {"extra": extra, "python_version": python, "sys_platform": "linux", "platform_machine": "x86_64"}
            if key in there | found or (wanted.marker and not wanted.marker.evaluate(marker)):
                continue
            try:
                version(key)
            except PackageNotFoundError:
                continue  # an optional part that this environment does not have either
            found.add(key)
            todo += [(key, wanted_extra) for wanted_extra in wanted.extras or {""}]
    return found


def fetch(names: set[str], python: str, folder: Path) -> None:
    """Wheels of these packages, in the versions of this environment."""
    wanted = [f"{name}=={version(name).split('+')[0]}" for name in sorted(names)]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", python, "--implementation", "cp", *platforms, "-d", str(folder), *wanted]
    subprocess.run(command, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "gpu-kit")
    parser.add_argument("--python", default="3.12")
    parser.add_argument("--have", default="", help="packages that are there too, with commas")
    parser.add_argument("--most", type=float, default=64.0, help="MB that the folder may have")
    given = parser.parse_args()
    if not (given.store / "zarr.json").is_file():
        print(f"{given.store} is no store: give the folder that `greenprep tile` wrote", file=sys.stderr)
        return 2
    shutil.rmtree(given.out, ignore_errors=True)
    (given.out / "wheels").mkdir(parents=True)
    for room in ("train/greentrain", "schemas/greenschemas"):
        shutil.copytree(ROOT / room, given.out / "src" / Path(room).name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(Path(__file__).with_name("check.py"), given.out)
    shutil.copytree(given.store, given.out / "store.zarr")
    (given.out / "run.sh").write_text(RUN)
    (given.out / "run.sh").chmod(0o755)
    fetch(
        needed("greenspace", "train", THERE | set(filter(None, given.have.split(","))), given.python),
        given.python,
        given.out / "wheels",
    )
    sizes = sorted(((f.stat().st_size / 1e6, f.name) for f in given.out.rglob("*") if f.is_file()), reverse=True)
    total = sum(size for size, _ in sizes)
    print(f"{given.out}: {total:.0f} MB; on the machine: {given.out.name}/run.sh")
    if total > given.most:
        largest = ", ".join(f"{name} {size:.0f} MB" for size, name in sizes[:4])
        print(f"more than {given.most:.0f} MB: {largest}; name with --have what is there already", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

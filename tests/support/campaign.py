"""The campaign of faults, seeded: commands killed, disks full, files mutated; and what came of each, as a table.

Run: make torture, or in tests: python -m support.campaign [--seed N] [--kills N] [--files N] [--texts N] [--quotas N].
What comes of each is the exact result of an undisturbed run, or an error of ours with nothing lost; whatever else
happens is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from support.mutate import mutated_text, mutated_tiff
from support.raw import Collection, tree

Outcome = tuple[str, str]
"""(kind of fault, what came of it)"""
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def command(*args: object, **options: object) -> subprocess.Popen[str]:
    """`greenprep` in a process group of its own, with its errors in a pipe."""
    code = "from greenprep.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,  # type: ignore[call-overload]
    )


def finished(*args: object, **options: object) -> tuple[int, str]:
    """(exit code, errors) of a command that runs to its end."""
    process = command(*args, **options)
    said = process.communicate()[1]
    return process.returncode, said


def raw_files(folder: Path) -> Collection:
    """Nine pairs of five areas, and a recipe for them."""
    made = Collection(folder)
    for area in range(5):
        for at in (1, 2) if area < 4 else (1,):
            made.add(area, at)
    return made


def kills(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """Each command killed at a random moment, then given again: the result is that of an undisturbed run."""
    made = raw_files(folder)
    recipe = made.recipe("s")
    finished("clean", made.raw, folder / "clean", "--recipe", recipe, "--workers", 1)
    shutil.copytree(folder / "clean", folder / "from")
    jobs: dict[str, tuple[tuple[object, ...], Path]] = {
        "clean": (("clean", made.raw, folder / "c", "--recipe", recipe, "--workers", 2), folder / "c"),
        "tile": (("tile", folder / "from", folder / "t.zarr", "--workers", 0), folder / "t.zarr"),
        "run": (("run", recipe, "--workers", 0), folder / "s.zarr"),
    }
    for name, (args, out) in jobs.items():
        began = time.monotonic()
        finished(*args)
        took = time.monotonic() - began
        due = tree(out)
        for _ in range(many):
            shutil.rmtree(out)
            sent = chance.choice(SIGNALS)
            process = command(*args)
            time.sleep(chance.uniform(0, took))
            os.killpg(process.pid, sent)
            process.communicate()
            code, said = finished(*args)
            # A build that had ended before it was killed says that the store is there.
            sound = (code == 0 or "there is a store already" in said) and same(tree(out), due)
            yield f"{name} killed", "exact" if sound else f"WRONG after {sent.name}: {said[-300:]}"


def same(found: dict[str, bytes], due: dict[str, bytes]) -> bool:
    """Whether two trees hold the same, but for pages, which hold times, and what a kill leaves for the next owner."""
    drop = (".html", ".lock")
    return {k: v for k, v in found.items() if not k.endswith(drop)} == {
        k: v for k, v in due.items() if not k.endswith(drop)
    }


def quotas(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """No file may grow beyond a random size, as on a full disk: an error of ours, and the same command then goes on."""
    made = raw_files(folder)
    recipe = made.recipe("s")
    finished("run", recipe, "--workers", 0)
    due = tree(folder / "s.zarr")
    for _ in range(many):
        shutil.rmtree(folder / "s.zarr")
        most = int(10 ** chance.uniform(2, 5))

        def bound(most: int = most) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

        code, said = finished("run", recipe, "--workers", 0, preexec_fn=bound)
        named = code == 0 or (code == 2 and "Traceback" not in said)
        again, _ = (0, "") if code == 0 else finished("run", recipe, "--workers", 0)
        sound = named and again == 0 and same(tree(folder / "s.zarr"), due)
        yield "file size bounded", "exact" if sound else f"WRONG at {most} bytes: {said[-300:]}"


def files(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """Mutated GeoTIFFs: a verdict on each, the same in two runs."""
    from greenprep.clean.clean import clean

    made = raw_files(folder)
    sources = sorted(made.raw.rglob("*.tif"))
    batch = 200
    for start in range(0, many, batch):
        raw = folder / f"m{start}"
        for i in range(min(batch, many - start)):
            area, at = chance.randrange(4), chance.randrange(1, 3)
            stem = f"T_2020_{area}_{at}_GeoTIFF"
            spoilt = chance.random() < 0.5
            for source in sources:
                mask = source.name == f"{stem}_fractional_mask.tif"
                if not mask and source.name != f"{stem}.tif":
                    continue
                name = source.name.replace("T_2020", f"M{i:04d}_2020")
                target = raw / source.relative_to(made.raw).parent / name
                target.parent.mkdir(parents=True, exist_ok=True)
                data = source.read_bytes()
                target.write_bytes(mutated_tiff(data, chance) if mask == spoilt else data)
        first, summary = clean(raw, folder / f"o{start}", made.plain, workers=2)
        second, _ = clean(raw, folder / f"p{start}", made.plain, workers=2)
        for one, other in zip(first, second, strict=True):
            odd = [reason.found for reason in one.reasons if reason.code == "internal-error"]
            yield (
                "GeoTIFF mutated",
                f"FOREIGN {odd[0]}" if odd else one.verdict.value if one == other else f"UNSTABLE {one.image}",
            )
        yield "GeoTIFFs added up", "exact" if summary.found == len(first) else "WRONG"
        for each in (raw, folder / f"o{start}", folder / f"p{start}"):
            shutil.rmtree(each)


def texts(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """Mutated manifests, recipes, contracts, zones and checkpoints: read, or refused by an error of ours."""
    from greenschemas.errors import GreenError
    from support.mutate import readers

    for name, (data, read) in readers(folder).items():
        for _ in range(many):
            spoilt = mutated_text(data, chance)
            try:
                read(spoilt)
                yield f"{name} mutated", "read"
            except GreenError:
                yield f"{name} mutated", "refused"
            except Exception as problem:
                yield f"{name} mutated", f"FOREIGN {type(problem).__name__}: {str(problem)[:150]}"


def main() -> int:
    """Run the parts that were asked for and print what came of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, many in (("seed", 0), ("kills", 20), ("files", 2000), ("texts", 2000), ("quotas", 10)):
        parser.add_argument(f"--{name}", type=int, default=many)
    asked = parser.parse_args()
    parts: tuple[Callable[[Path, random.Random, int], Iterator[Outcome]], ...] = (texts, files, quotas, kills)
    counts: Counter[Outcome] = Counter()
    for part in parts:
        many = getattr(asked, part.__name__)
        with tempfile.TemporaryDirectory() as folder:
            for outcome in part(Path(folder), random.Random(asked.seed), many) if many else ():
                counts[outcome] += 1
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{count:6}  {kind:24} {outcome}")
    return int(any(outcome.split()[0] in ("WRONG", "FOREIGN", "UNSTABLE") for _, outcome in counts))


if __name__ == "__main__":
    sys.exit(main())

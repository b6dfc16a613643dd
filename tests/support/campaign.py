"""The campaign of faults, seeded: commands killed, disks full, files mutated; and what came of each, as a table.

Run: make torture, or in tests: python -m support.campaign [--seed N] [--json FILE] [--PART N], where PART is what
happens (texts, fuzz, files, repairs, quotas, disks, power, readonly, sources, stores, clocks, pauses, kills), and N how
often.
What comes of each is the exact result of an undisturbed run, or an error of ours with nothing lost; whatever else
happens is printed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from greenprep.engine.pool import run_batches
from support.disks import disks, power, quotas, readonly, sources, stores
from support.fuzz import dead, judge_files
from support.jobs import raw_files
from support.kills import Outcome, clocks, kills, pauses
from support.mutate import mutated_text, mutated_tiff
from support.repairs import repairs

BAD = ("WRONG", "FOREIGN", "UNSTABLE", "OTHER", "ALONE", "DEAD")
"""How outcomes begin that nobody can explain."""


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


def fuzz(folder: Path, chance: random.Random, many: int) -> Iterator[Outcome]:
    """GeoTIFFs of many makes, mutated, each read beside rasterio."""
    judge = partial(judge_files, folder, chance.randrange(1 << 30))
    some = run_batches(judge, range(many), workers=2, batch=50, dead=partial(dead, folder), preload="support.fuzz")
    for answers in some:
        yield from (("GeoTIFF beside rasterio", outcome) for _, outcome in answers)


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


PARTS: dict[str, tuple[Callable[[Path, random.Random, int], Iterator[Outcome]], int]] = {
    "texts": (texts, 2000),
    "fuzz": (fuzz, 10_000),
    "files": (files, 2000),
    "repairs": (repairs, 750),
    "quotas": (quotas, 10),
    "disks": (disks, 10),
    "power": (power, 10),
    "readonly": (readonly, 6),
    "sources": (sources, 10),
    "stores": (stores, 100),
    "clocks": (clocks, 8),
    "pauses": (pauses, 1),
    "kills": (kills, 20),
}
"""What may happen, and how often it does unless told otherwise."""


def main() -> int:
    """Run the parts that were asked for and print what came of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="Add the counts to those in this file.")
    for name, (_, many) in PARTS.items():
        parser.add_argument(f"--{name}", type=int, default=many)
    parser.add_argument("--only", default="", help="Pattern of the commands that are killed or paused; else all.")
    asked = parser.parse_args()
    counts: Counter[Outcome] = Counter()
    for name, (part, _) in PARTS.items():
        many = getattr(asked, name)
        part = partial(part, only=asked.only) if part in (kills, pauses) else part
        with tempfile.TemporaryDirectory() as folder:
            for outcome in part(Path(folder), random.Random(asked.seed), many) if many else ():
                counts[outcome] += 1
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{count:6}  {kind:26} {outcome}")
    if asked.json:
        keep(asked.json, counts)
    return int(any(outcome.startswith(BAD) for _, outcome in counts))


def keep(path: Path, counts: Counter[Outcome]) -> None:
    """Add counts to those in a file: {kind: {outcome: count}}."""
    held = json.loads(path.read_text()) if path.exists() else {}
    for (kind, outcome), count in counts.items():
        of_kind = held.setdefault(kind, {})
        of_kind[outcome] = of_kind.get(outcome, 0) + count
    path.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")


def as_table(held: dict[str, dict[str, int]]) -> str:
    """The counts as a table in Markdown, for docs/faults.md."""
    rows = [
        f"| {kind} | {sum(of_kind.values()):,} | "
        + "; ".join(f"{outcome} {count:,}" for outcome, count in sorted(of_kind.items()))
        + " |"
        for kind, of_kind in sorted(held.items())
    ]
    return "\n".join(["| what happened | times | what came of it |", "|---|---|---|", *rows])


if __name__ == "__main__":
    sys.exit(main())

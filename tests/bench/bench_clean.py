"""Time of `greenprep clean` against reading every pixel once with rasterio, with the same workers, in one run.

    python tests/bench/bench_clean.py RAW [--workers 2] [--repeats 3]

Both run as fresh processes, start-up included, in turn; RAW is a folder of pairs, such as `greenprep synth RAW --areas
500 --no-defects` writes. Prints the medians and the median ratio of neighbouring runs as JSON.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from greenprep.synth.city import write_city

READER = """
import sys, warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

def read(paths):
    import rasterio
    warnings.simplefilter("ignore")
    total = 0
    for path in paths:
        with rasterio.open(path) as source:
            total += source.read().nbytes
    return total

if __name__ == "__main__":
    files = sorted(Path(sys.argv[1]).rglob("*.tif"))
    batches = [files[at:at + 16] for at in range(0, len(files), 16)]
    with ProcessPoolExecutor(int(sys.argv[2])) as pool:
        print(sum(pool.map(read, batches)))
"""


def timed(command: list[str]) -> float:
    """Wall-clock seconds of a command, start-up included."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path, nargs="?", help="raw folder; else 1,500 synthetic pairs are written")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    runs: dict[str, list[float]] = {"read": [], "clean": []}
    with tempfile.TemporaryDirectory(dir=args.raw.parent if args.raw else None) as scratch:
        if args.raw is None:
            args.raw = Path(scratch) / "raw"
            write_city(args.raw, areas=500, times=3, size=133, seed=0, defects=False)
        script = Path(scratch) / "reader.py"
        script.write_text(READER, encoding="utf-8")
        subprocess.run([sys.executable, script, args.raw, str(args.workers)], check=True, stdout=subprocess.DEVNULL)
        for _ in range(args.repeats):
            runs["read"].append(timed([sys.executable, str(script), str(args.raw), str(args.workers)]))
            out = Path(scratch) / "out"
            runs["clean"].append(
                timed(
                    [
                        sys.executable,
                        "-c",
                        "from greenprep.cli import main; main()",
                        "clean",
                        str(args.raw),
                        str(out),
                        "--workers",
                        str(args.workers),
                    ]
                )
            )
            shutil.rmtree(out)
    ratios = sorted(clean / read for read, clean in zip(runs["read"], runs["clean"], strict=True))
    print(
        json.dumps(
            {name: statistics.median(taken) for name, taken in runs.items()}
            | {"ratio": statistics.median(ratios), "ratios": ratios, "workers": args.workers},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()

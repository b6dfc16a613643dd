"""Files spoilt by chance, seeded: bytes flipped, cut, doubled, and the fields of a TIFF's directory rewritten."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path

import yaml

__all__ = ["mutated_text", "mutated_tiff", "readers"]

_ODD = (0, 1, 2, 3, 7, 8, 16, 32, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
_WORDS = (
    b"null",
    b"[]",
    b"{}",
    b"-1",
    b"1e999",
    b"NaN",
    b'""',
    b"\xff",
    b"\0",
    b"[" * 5000,
    b"9" * 5000,
    b"\\ud800",
    b"&a [*a]",
)


def mutated_text(data: bytes, chance: random.Random) -> bytes:
    """One to three changes to any bytes: flips, cuts, repeats, and words that readers stumble over."""
    for _ in range(chance.randint(1, 3)):
        at, to = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        to = min(to, at + 40)
        kind = chance.randrange(5)
        if kind == 0 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[to:]
        elif kind == 2:
            data = data[:to] + data[at:to] + data[to:]
        elif kind == 3:
            data = data[:at] + chance.choice(_WORDS) + data[to:]
        elif chance.random() < 0.3:
            data = data[:at]
    return data


def mutated_tiff(data: bytes, chance: random.Random) -> bytes:
    """A TIFF, classic or big, of either byte order: fields of a directory changed, any bytes, or its end cut off."""
    kind = chance.randrange(5)
    if kind == 0:
        return data[: chance.randrange(len(data))]
    if kind == 1:
        return mutated_text(data, chance)
    order = "<" if data[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", data, 2)[0] == 43
    place, number, size = ("Q", "Q", 20) if big else ("I", "H", 12)
    spoilt = bytearray(data)
    start = struct.unpack_from(order + place, data, 8 if big else 4)[0]
    count = struct.unpack_from(order + number, data, start)[0]
    start += struct.calcsize(number)
    for _ in range(chance.randint(1, 2)):
        entry = start + size * chance.randrange(count)
        if kind == 4:
            _spoil_value(spoilt, order, big, entry, chance)
            continue
        field, form = chance.choice(((0, "H"), (2, "H"), (4, place), (8 + 4 * big, place)))
        struct.pack_into(order + form, spoilt, entry + field, _odd(form, chance))
    return bytes(spoilt)


def _spoil_value(spoilt: bytearray, order: str, big: bool, entry: int, chance: random.Random) -> None:
    """Change one of the values that an entry keeps elsewhere in the file: an offset, a size, a geokey, a coordinate."""
    kinds = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 11: "I", 12: "Q", 13: "I", 16: "Q", 17: "Q", 18: "Q"}
    _, kind = struct.unpack_from(f"{order}HH", spoilt, entry)
    many, at = struct.unpack_from(f"{order}QQ" if big else f"{order}II", spoilt, entry + 4)
    form = kinds.get(kind, "B")
    width = struct.calcsize(form)
    place = at + width * chance.randrange(max(many, 1))
    if many * width > (8 if big else 4) and place + width <= len(spoilt):
        struct.pack_into(order + form, spoilt, place, _odd(form, chance))


def _odd(form: str, chance: random.Random) -> int:
    """A value of a field that is at an edge, or any."""
    most = 1 << 8 * struct.calcsize(form)
    return chance.choice(_ODD) % most if chance.random() < 0.7 else chance.randrange(most)


def readers(folder: Path) -> dict[str, tuple[bytes, Callable[[bytes], object]]]:
    """What text files hold when they are whole, and who reads them, by kind."""
    import torch

    from greenschemas.manifest import MANIFEST_NAME, Entry, read_manifest
    from greenschemas.recipe import Recipe, load_recipe
    from greenschemas.store import open_store
    from greentrain.ground.zones import read_zones
    from greentrain.maps.raster import Grid
    from greentrain.training.checkpoint import newest_checkpoint, write_checkpoint
    from support.stores import write_tiny_store

    store = folder / "store"
    write_tiny_store(store, sources=2, tiles_each=1, size=8)
    grid = Grid(50, 40, (10.0, 0.0, 4e5, 0.0, -10.0, 4e6), "EPSG:32618")
    square = [[[-76.1, 36.1], [-76.1, 36.2], [-76.0, 36.2], [-76.1, 36.1]]]
    zones = {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"name": "a"}}]}
    zones["features"][0]["geometry"] = {"type": "Polygon", "coordinates": square}  # type: ignore[index]
    line = Entry(
        image="a.tif", mask="b.tif", group="g", time="1", verdict="accepted", crs="EPSG:32618", shape=(1, 2, 3)
    )
    write_checkpoint(folder / "run/checkpoints/step-00000001.pt", {"weights": torch.arange(9), "position": {"step": 1}})

    def reader(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def use(data: bytes) -> object:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            return read(path)

        return use

    def window(path: Path) -> object:
        return [list(zone.blocks(grid)) for zone in read_zones(path, grid)]

    checkpoint = "run/checkpoints/step-00000001.pt"
    return {
        "manifest": (
            (line.to_json() + "\n").encode() * 2,
            reader(MANIFEST_NAME, lambda path: list(read_manifest(path.parent))),
        ),
        "recipe": (yaml.safe_dump(Recipe().about_data()).encode(), reader("recipe.yaml", load_recipe)),
        "contract": ((store / "zarr.json").read_bytes(), reader("store/zarr.json", lambda _: open_store(store))),
        "zones": (json.dumps(zones).encode(), reader("zones.geojson", window)),
        "checkpoint": (
            (folder / checkpoint).read_bytes(),
            reader(checkpoint, lambda _: newest_checkpoint(folder / "run")),
        ),
    }

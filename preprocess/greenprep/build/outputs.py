"""Where a build may write: never over what it reads, and over nothing that is no store."""

from __future__ import annotations

from pathlib import Path

from greenprep.store.location import Location
from greenschemas.errors import ConfigError, StoreError
from greenschemas.layout import ARRAYS
from greenschemas.manifest import RECIPE_NAME

__all__ = ["check_manifest_folder", "check_store_location"]


def check_store_location(store: Location, read: Path, *, overwrite: bool) -> None:
    """Raise StoreError where a new store at `store` would destroy anything but a store that may be replaced.

    read: the folder that is read, raw or clean. A finished build takes the place of whatever has its name, so that
    must be nothing, an empty folder, what a stopped build left on an object store, or, if asked for, a store.
    """
    if store.local:
        here, source = store.path.resolve(), read.resolve()
        if here == source or here in source.parents:
            raise StoreError(store.url, f"it is, or holds, the folder {read} that is read", "choose another name")
    if (store / "zarr.json").exists():
        if not overwrite:
            raise StoreError(
                store.url,
                "there is a store already",
                "give another name, --overwrite to replace it, or --append to add to it",
            )
    elif (store.local and store.path.is_file()) or set(store.names()) - set(ARRAYS):
        raise StoreError(
            store.url, "something that is no store has this name", "choose another name: it is not touched"
        )


def check_manifest_folder(clean: Path, raw: Path, store: Location, recipe: Path) -> None:
    """Raise ConfigError where the manifest would lie among raw files, in the store, or its recipe over `recipe`."""
    here = clean.resolve()
    if here == raw.resolve():
        raise ConfigError(clean, "`clean` is the raw folder", "choose a folder beside it: raw files are never touched")
    if store.local and store.path.resolve() in (here, *here.parents):
        raise ConfigError(clean, "`clean` lies in the store", "choose a folder beside it")
    if (here / RECIPE_NAME) == recipe.resolve():
        raise ConfigError(
            clean,
            f"`clean` holds {recipe.name} itself, which would be written over",
            "choose another folder, or name the recipe otherwise",
        )

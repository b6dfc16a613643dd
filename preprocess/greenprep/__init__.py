"""greenprep: checks satellite images and their masks, cuts tiles and writes one chunked Zarr store.

    import greenprep as gp

    gp.init("raw", "recipe.yaml")  # looks at the folder, writes a recipe to correct
    gp.clean("raw", "clean", "recipe.yaml")
    gp.tile("clean", "city.zarr", size=128)
    gp.split("city.zarr", val=0.2)
    gp.run("recipe.yaml")  # all three in one reading

These are the functions behind the commands of the same names. A script that calls them stands in a file, and guards
its main part by `if __name__ == "__main__"`: worker processes import it again.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenprep.build.run import run, tile
    from greenprep.clean.clean import clean
    from greenprep.init.write import init
    from greenprep.split.assign import split

    __version__: str
else:
    from greenschemas.face import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "clean": "greenprep.clean.clean",
            "init": "greenprep.init.write",
            "run": "greenprep.build.run",
            "split": "greenprep.split.assign",
            "tile": "greenprep.build.run",
        },
    )

__all__ = ["__version__", "clean", "init", "run", "split", "tile"]


class _Face(ModuleType):
    """This package, of which `clean`, `init` and `split` are the functions whatever was imported first.

    All three are also names of rooms, and the import system writes a sub-package into its parent when that is first
    imported: `greenprep.clean` would be the function until something below it is imported, and then the room. Rooms
    are found by `import` all the same, which looks into `sys.modules`.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face

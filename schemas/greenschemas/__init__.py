"""greenschemas: the contract between greenprep and greentrain: store, manifest, recipe and errors.

import greenschemas

    store = greenschemas.open_store("city.zarr")
    store.to_xarray().sel(band="red")             # all tiles, lazily
    store.source("T_2020_1_1").rio.to_raster(…)   # one source as it lies on the ground
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenschemas.contract import Contract
    from greenschemas.errors import GreenError
    from greenschemas.recipe import Recipe, load_recipe
    from greenschemas.store import Store, open_store

    __version__: str
else:
    from greenschemas.face import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Contract": "greenschemas.contract",
            "GreenError": "greenschemas.errors",
            "Recipe": "greenschemas.recipe",
            "Store": "greenschemas.store",
            "load_recipe": "greenschemas.recipe",
            "open_store": "greenschemas.store",
        },
    )

__all__ = ["Contract", "GreenError", "Recipe", "Store", "__version__", "load_recipe", "open_store"]

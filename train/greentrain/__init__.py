"""greentrain: streams a store into a VM-UNet, proves that it learns, draws maps.

    import greentrain as gt

    store = gt.open_store("city.zarr")
    gt.fit(store, "runs/city", epochs=5)
    run = gt.load_run("runs/city")
    run.predict(store.source("T_2020_1_1"))  # fractions (class, y, x), on the ground
    gt.evaluate("runs/city")["mean"]

These are the functions behind the commands of the same names.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenschemas.store import Store, open_store
    from greentrain.data.loader import Loader, open_loader
    from greentrain.nets.presets import build_model
    from greentrain.nets.scan import selective_scan
    from greentrain.nets.vmunet import VMUNet
    from greentrain.runs import Run, fit, load_run
    from greentrain.study.evaluate import evaluate

    __version__: str
else:
    from greenschemas.face import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "Loader": "greentrain.data.loader",
            "Run": "greentrain.runs",
            "Store": "greenschemas.store",
            "VMUNet": "greentrain.nets.vmunet",
            "build_model": "greentrain.nets.presets",
            "evaluate": "greentrain.study.evaluate",
            "fit": "greentrain.runs",
            "load_run": "greentrain.runs",
            "open_loader": "greentrain.data.loader",
            "open_store": "greenschemas.store",
            "selective_scan": "greentrain.nets.scan",
        },
    )

__all__ = [
    "Loader",
    "Run",
    "Store",
    "VMUNet",
    "__version__",
    "build_model",
    "evaluate",
    "fit",
    "load_run",
    "open_loader",
    "open_store",
    "selective_scan",
]

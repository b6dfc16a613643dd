"""Coordinate systems as text that files, manifests and stores bring: a code, WKT or PROJJSON, and nothing else.

GDAL and PROJ also take names of files and addresses of servers, and would read, or fetch, what stands there.
"""

from __future__ import annotations

import json
import os
import re
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["CrsText", "check_crs", "stay_offline"]

_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,31}:[A-Za-z0-9_.]{1,64}|urn:ogc:def:crs:[A-Za-z0-9_.:-]{1,64}")
_WKT = re.compile(r"\s*[A-Z][A-Z0-9_]{2,31}\s*[\[(].*[\])]\s*", re.DOTALL)


def check_crs(text: str) -> str:
    """`text` as it is; raises ValueError unless it is empty, a code (EPSG:32618), WKT or PROJJSON, by its form."""
    if not text or _CODE.fullmatch(text) or _WKT.fullmatch(text) or _is_json(text):
        return text
    shown = text if len(text) <= 60 else text[:57] + "..."
    raise ValueError(f"a code such as EPSG:32618, WKT or PROJJSON, and not `{shown}`")


CrsText = Annotated[str, AfterValidator(check_crs)]
"""Field of a model that holds a coordinate system, or nothing."""


def stay_offline() -> None:
    """Keep PROJ from asking its servers for grids; before its first use in a process."""
    os.environ["PROJ_NETWORK"] = "OFF"


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith("{"):
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False

"""The JSON that programs get, with its OpenAPI at /openapi.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from greenprep.serve.service import Service
from greenprep.serve.uploads import bring_in, check_free, link_in, place_of

__all__ = ["Api", "Writer"]

Writer = Callable[..., str]
"""Says who sent a request, or raises HTTPException."""
_MOST = 1000
_FILES = 100


class Pair(BaseModel):
    """A pair and the last verdict on it."""

    name: str = Field(description="Path of the image below the inbox, or of a mask without one.")
    mask: str | None
    at: str = Field(description="When it was judged, in UTC; empty where that is not known.")
    verdict: str
    codes: list[str] = Field(description="Findings, as `greenprep explain CODE` takes them.")
    group: str | None


class Decision(BaseModel):
    """A verdict by hand."""

    name: str
    verdict: str = Field(description="accepted or rejected")
    reason: str


class Exclusion(BaseModel):
    """A tile whose ground shall be in no split."""

    tile: int
    reason: str


class Link(BaseModel):
    """Files of the server to be brought into the inbox, as paths below its folder for this (`--share`)."""

    files: list[str] = Field(min_length=1, max_length=_FILES)


_UPLOAD = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["files"],
                }
            },
            "application/json": {"schema": Link.model_json_schema()},
        },
    }
}


class Api:
    """One method a route for programs."""

    def __init__(self, service: Service, writer: Writer, shared: Path | None) -> None:
        """shared: folder whose files may be brought in by their path, or None."""
        self._service, self._writer, self._shared = service, writer, shared

    def add_to(self, app: FastAPI) -> None:
        """Add the routes."""
        app.get("/pairs")(self.pairs)
        app.post("/pairs", status_code=202, openapi_extra=_UPLOAD)(self.bring)
        app.post("/overrule", status_code=202)(self.overrule)
        app.post("/exclude", status_code=202)(self.exclude)
        app.get("/store")(self.store)
        app.get("/health")(self.health)
        app.get("/metrics", response_class=PlainTextResponse)(self.metrics)

    def pairs(
        self,
        verdict: str = "",
        text: str = "",
        skip: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST)] = 100,
    ) -> list[Pair]:
        """Pairs by verdict and by what their name, group or findings hold; the last to be judged first."""
        rows = self._service.verdicts.refresh().select(verdict, text, skip=skip, limit=limit)
        return [
            Pair(name=row.name, mask=row.mask, at=row.at, verdict=row.verdict, codes=list(row.codes), group=row.group)
            for row in rows
        ]

    async def bring(self, request: Request) -> dict[str, list[str]]:
        """Bring files into the inbox: an image, a mask, or several; the watcher answers within seconds."""
        self._writer(request)
        if request.headers.get("content-type", "").startswith("application/json"):
            return {"files": await self._link(await request.body())}
        async with request.form(max_files=_FILES, max_fields=10) as form:
            files = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
            if not files:
                raise HTTPException(422, "no file in the field `files`")
            places = self._places([one.filename or "" for one in files])
            for place, one in zip(places, files, strict=True):
                await run_in_threadpool(bring_in, self._service.places.inbox, place, one.file)
        return {"files": places}

    async def _link(self, body: bytes) -> list[str]:
        if self._shared is None:
            raise HTTPException(403, "files of the server may not be linked: it was started without --share")
        try:
            link = Link.model_validate_json(body)
        except ValidationError:
            raise HTTPException(422, 'send {"files": [PATH, …]}') from None
        places = self._places(link.files)
        for place, name in zip(places, link.files, strict=True):
            await run_in_threadpool(link_in, self._service.places.inbox, place, self._shared, name)
        return places

    def _places(self, names: Sequence[str]) -> list[str]:
        """Where files go, all of which must be new: some or none is no answer."""
        places = [place_of(name, self._service.recipe.pairing) for name in names]
        for place in places:
            check_free(self._service.places.inbox / place)
        return places

    def overrule(self, request: Request, decision: Decision) -> dict[str, Any]:
        """Decide about a pair by hand; who, when and why stand in its history and in the manifest."""
        act = self._service.overrule(decision.name, decision.verdict, decision.reason, self._writer(request))
        return act.model_dump(mode="json")

    def exclude(self, request: Request, exclusion: Exclusion) -> dict[str, Any]:
        """Take the ground of a tile out of all splits."""
        return self._service.exclude(exclusion.tile, exclusion.reason, self._writer(request)).model_dump(mode="json")

    def store(self) -> dict[str, Any]:
        """What the store holds: tiles, sources, groups, bands, classes, split."""
        return self._service.sums()

    def health(self) -> dict[str, Any]:
        """Whether somebody watches the inbox, and there is room."""
        return self._service.health()

    def metrics(self) -> str:
        """For Prometheus."""
        return self._service.metrics()

"""What stands beside a file that was judged: `NAME.verdict.json` for programs, `NAME.verdict.txt` for people."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from greenprep.clean.clean import entry_key
from greenprep.raw.pairs import ANSWERS, Candidate
from greenprep.watch.known import Key
from greenschemas.console import say
from greenschemas.files import sync_files, whole
from greenschemas.manifest import Entry, Verdict

__all__ = ["Answers", "in_sentences"]

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_FOLDER = "answers"


class Answers:
    """Writes answers beside the files of an inbox, or below CLEAN where the inbox may not be written."""

    def __init__(self, inbox: Path, clean: Path) -> None:
        self._inbox, self._aside = inbox, clean / _FOLDER
        self._root = inbox

    def give(self, entries: Iterable[Entry], again: Mapping[Key, bool]) -> None:
        """Answer for the files of some pairs.

        again: those that had another answer before, and whether the store holds what they were then.
        """
        given: list[Path] = []
        at = datetime.now(UTC).replace(microsecond=0).isoformat()
        for entry in entries:
            kept = again.get(entry_key(entry))
            body = {
                "verdict": entry.verdict.value,
                "image": entry.image,
                "mask": entry.mask,
                "judged": at,
                "again": kept is not None,
                "reasons": [reason.model_dump(mode="json") for reason in entry.reasons],
            }
            given += self._write((entry.image, entry.mask), body, in_sentences(entry, kept))
        if given:
            sync_files(self._root, given)

    def wait(self, candidate: Candidate) -> None:
        """Tell a file without a partner that it waits for one."""
        lacks = "mask" if candidate.mask is None else "image"
        body = {"verdict": "waiting", "image": candidate.image, "mask": candidate.mask, "lacks": lacks}
        text = f"{_base(candidate.name)} waits: its {lacks} has not come yet. It is judged as soon as both are here.\n"
        self._write((candidate.image, candidate.mask), body, text)

    def withdraw(self, names: Iterable[str]) -> None:
        """Take back the answers beside some files, which are about to be judged again."""
        for name in names:
            for ending in ANSWERS:
                (self._root / f"{name}{ending}").unlink(missing_ok=True)

    def lacking(self, name: str) -> bool:
        """Whether a file that is there has no answer, or an empty one, which is what a power cut leaves."""
        for end in ANSWERS:  # Of a million pairs, at the start: first what is usual.
            if not any(_has_bytes(f"{root}/{name}{end}") for root in (self._inbox, self._aside)):
                return (self._inbox / name).exists()
        return False

    def _write(self, names: Iterable[str | None], body: Mapping[str, object], text: str) -> list[Path]:
        given = []
        data = json.dumps(body, ensure_ascii=False, indent=1) + "\n", text
        for name in filter(None, names):
            if not (self._inbox / name).parent.is_dir():
                continue  # It has gone, and its folder with it.
            for ending, each in zip(ANSWERS, data, strict=True):
                self._put(f"{name}{ending}", each)
                given.append(self._root / f"{name}{ending}")
        return given

    def _put(self, name: str, text: str) -> None:
        try:
            _put(self._root / name, text)
        except OSError as problem:
            if problem.errno not in _READ_ONLY or self._root == self._aside:
                raise
            say(f"{self._inbox} may not be written: answers go to {self._aside}.")
            self._root = self._aside
            _put(self._root / name, text)


def _put(path: Path, data: str) -> None:
    with whole(path, synced=False) as draft:
        draft.write_text(data, encoding="utf-8")


def _has_bytes(path: str) -> bool:
    try:
        return os.stat(path).st_size > 0
    except OSError:
        return False


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def in_sentences(entry: Entry, kept: bool | None = None) -> str:
    """The verdict as a person reads it: a sentence or two, then a line for each finding.

    kept: None for a first answer; else whether the store holds what was judged before.
    """
    names = " and ".join(_base(name) for name in (entry.image, entry.mask) if name)
    verb = {
        Verdict.ACCEPTED: "accepted, with remarks" if entry.reasons else "accepted",
        Verdict.REPAIRED: "accepted after a repair",
        Verdict.REJECTED: "rejected",
    }[entry.verdict]
    head = f"{names}: {verb}{'' if kept is None else ', judged again because a file was replaced'}."
    if kept:
        head += " The store keeps what it holds of this pair until it is built anew."
    lines = (
        f"- {reason.code} ({reason.file}, {reason.level.value}): found {reason.found}; allowed: {reason.limit}. "
        f"What to do: {reason.remedy}."
        for reason in entry.reasons
    )
    return "\n".join([head, *lines]) + "\n"

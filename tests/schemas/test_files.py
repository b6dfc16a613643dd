"""Files appear whole or not at all, and are on the disk before they bear their name."""

import multiprocessing
import os
import pickle
import re
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenschemas.errors import SourceError
from greenschemas.files import beside, whole, write_whole


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(old=st.binary(), new=st.binary())
def test_a_file_holds_what_was_written_last_and_nothing_stands_beside_it(
    tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes
) -> None:
    path = tmp_path_factory.mktemp("files") / "sub" / "a.bin"
    for data in (old, new):
        write_whole(path, data)
        assert path.read_bytes() == data
    assert _names(path.parent) == ["a.bin"]


def test_text_is_written_as_utf_8_with_its_own_line_ends(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "grün\n")
    assert (tmp_path / "a.txt").read_bytes() == b"gr\xc3\xbcn\n"


def test_after_an_error_the_old_file_stays_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with pytest.raises(KeyboardInterrupt), whole(path) as draft:
        draft.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_a_link_to_the_file_that_is_there_already_leaves_one_name(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, "same")
    with whole(path) as draft:
        os.link(path, draft)
    assert path.read_text() == "same"
    assert _names(tmp_path) == ["a.txt"]


def test_the_file_is_synced_before_it_is_renamed_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def synced(handle: int) -> None:
        done.append("folder" if os.path.samestat(os.fstat(handle), tmp_path.stat()) else "file")
        fsync(handle)

    def renamed(draft: Path, path: Path) -> Path:
        done.append("rename")
        return replace(draft, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "a.txt", "text")
    assert done == ["file", "rename", "folder"]


def _write_beyond(limit: int, path: str) -> None:
    """In a process of its own: writing more than `limit` bytes fails as it does on a full disk."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        write_whole(Path(path), "x" * 4 * limit)
    except OSError as problem:
        sys.exit(0 if problem.filename == path else f"named {problem.filename}")
    sys.exit("nothing was raised")


def test_a_full_disk_is_told_with_the_path(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    process = multiprocessing.get_context("fork").Process(target=_write_beyond, args=(50_000, str(tmp_path / "a.json")))
    process.start()
    process.join()
    assert process.exitcode == 0 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "x" * 255, "\u00e4" * 127, os.fsdecode(b"bad\xff")])
def test_a_name_of_any_length_leaves_room_for_the_draft(tmp_path: Path, name: str) -> None:
    write_whole(tmp_path / name, b"1")
    write_whole(tmp_path / name, b"2")
    assert (tmp_path / name).read_bytes() == b"2" and len(list(tmp_path.iterdir())) == 1
    assert beside(tmp_path / name, ".lock") != beside(tmp_path / f"{name[:-1]}b", ".lock")


def test_a_message_steers_no_terminal_and_can_be_written_anywhere() -> None:
    problem = SourceError("a\x1b[31m\nb\udcff", "found \x9b2J", "mend\x07 it")
    assert str(problem) == r"a\x1b[31m\nb\xff: found \x9b2J. Mend\x07 it."
    assert str(pickle.loads(pickle.dumps(problem))) == str(problem)
    str(problem).encode()


def _hang_in_a_draft(path: str) -> None:
    with whole(Path(path)) as draft:
        draft.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.skipif(os.name != "posix", reason="needs kill")
@pytest.mark.parametrize("name", ["a.txt", "b" * 240])
def test_what_a_killed_process_left_goes_when_the_file_is_written_again(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    process = multiprocessing.get_context("spawn").Process(target=_hang_in_a_draft, args=(str(path),))
    process.start()
    process.join()
    (left,) = _names(tmp_path)
    # Of another file, of a process that lives, of another machine, and a file that somebody called so.
    others = [left.replace(left[1:4], "xyz", 1), re.sub(r"-\d+-", f"-{os.getpid()}-", left)]
    others += [re.sub(r"\.[0-9a-f]{8}-", ".00000000-", left), f".{name[:200]}.tmp"]
    for other in others:
        (tmp_path / other).write_text("other")
    write_whole(path, "whole")
    assert _names(tmp_path) == sorted([name, *others])

"""Where compiled code is kept: never where another user could have put it."""

import os
from pathlib import Path

import pytest

from greentrain.nets.scan import cache
from greentrain.nets.scan.cache import cache_folder, is_trusted, seal


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is used unless something is wrong with it."""
    folder = tmp_path / "above" / "cache"
    monkeypatch.setenv("GREENTRAIN_CACHE", str(folder))
    assert cache_folder() == folder
    return folder


def private(caplog: pytest.LogCaptureFixture, why: str) -> bool:
    folder = cache_folder()
    assert why in caplog.text
    return folder == Path(cache._private_folder().name) and folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_is_made_is_closed_to_others_whatever_the_umask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREENTRAIN_CACHE", str(tmp_path / "cache"))
    before = os.umask(0)
    try:
        assert cache_folder().stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)


def test_a_folder_that_cannot_be_written_gives_way_to_a_private_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GREENTRAIN_CACHE", str(tmp_path / "file"))
    assert private(caplog, "File exists")


@pytest.mark.parametrize("which", ["", ".."])
def test_a_folder_that_others_may_write_or_replace_gives_way(
    mine: Path, which: str, caplog: pytest.LogCaptureFixture
) -> None:
    (mine / which).resolve().chmod(0o777)
    assert private(caplog, "other users may write it")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("which", ["", ".."])
def test_a_folder_of_another_user_gives_way(mine: Path, which: str, caplog: pytest.LogCaptureFixture) -> None:
    os.chown((mine / which).resolve(), 65534, 65534)
    assert private(caplog, "other users may write it")


def test_a_sticky_folder_above_is_safe(mine: Path) -> None:
    mine.parent.chmod(0o1777)
    assert cache_folder() == mine


def test_only_a_sealed_file_that_nobody_else_may_write_is_trusted(tmp_path: Path) -> None:
    path = tmp_path / "scan.so"
    assert not is_trusted(path)
    path.write_bytes(b"planted" * 99)
    assert not is_trusted(path)
    seal(path)
    assert is_trusted(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:5] + b"x" + whole[6:])
    assert not is_trusted(path)
    path.write_bytes(whole)
    path.chmod(0o722)
    assert not is_trusted(path)
    path.chmod(0o700)
    (tmp_path / "link.so").symlink_to(path)
    assert not is_trusted(tmp_path / "link.so")

"""`greenschemas.lock`: one writer at a time, told apart by real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from greenschemas.lock import LOCK_NAME, LockedError, Owner, folder_writer, only_writer

HOLD = """
import sys, time
from pathlib import Path
from greenschemas.lock import folder_writer, only_writer
with globals()[sys.argv[1]](Path(sys.argv[2]), "hold it"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder():
    """A function that starts a process which holds a lock until it is killed."""
    started = []

    def start(kind, target):
        process = subprocess.Popen([sys.executable, "-c", HOLD, kind, str(target)], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("kind", "hold"), [("only_writer", only_writer), ("folder_writer", folder_writer)])
def test_the_second_writer_is_told_who_the_first_is_and_gets_it_when_that_was_killed(tmp_path, holder, kind, hold):
    first = holder(kind, tmp_path / "s.zarr")
    with (
        pytest.raises(LockedError, match=rf"`hold it` \(process {first.pid} on .*\) since 2.* UTC writes there"),
        hold(tmp_path / "s.zarr", "come second"),
    ):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with hold(tmp_path / "s.zarr", "come second"):
        left = list(tmp_path.rglob("*lock"))
        assert [json.loads(path.read_text())["pid"] for path in left] == [os.getpid()]
    assert not list(tmp_path.rglob("*lock"))


def test_two_names_of_one_store_are_one_lock(tmp_path, holder):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").symlink_to(tmp_path / "a")
    holder("only_writer", tmp_path / "a")
    with pytest.raises(LockedError), only_writer(tmp_path / "b", "come second"):
        pass


def test_a_lock_is_let_go_when_the_block_ends_by_an_error(tmp_path):
    with pytest.raises(RuntimeError), only_writer(tmp_path / "s", "fail"):
        raise RuntimeError
    with only_writer(tmp_path / "s", "come after"), pytest.raises(LockedError), only_writer(tmp_path / "s", "again"):
        pass


def test_a_name_of_the_greatest_length_can_be_locked(tmp_path):
    with only_writer(tmp_path / ("n" * 255), "write"):
        pass


def test_many_processes_never_hold_it_together(tmp_path):
    """Each adds one to a number by reading it, waiting and writing it: any two at once would lose one."""
    count = tmp_path / "count"
    count.write_text("0")
    code = """
import sys, time
from pathlib import Path
from greenschemas.lock import LockedError, only_writer
path = Path(sys.argv[1])
done = 0
while done < 20:
    try:
        with only_writer(path, "count"):
            now = int(path.read_text()); time.sleep(0.001); path.write_text(str(now + 1)); done += 1
    except LockedError:
        time.sleep(0.001)
"""
    processes = [subprocess.Popen([sys.executable, "-c", code, str(count)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert count.read_text() == "60"


def test_on_an_object_store_the_lock_is_an_object(tmp_path):
    url = f"memory://{tmp_path.name}/s.zarr"
    fs = fsspec.filesystem("memory")
    with only_writer(url, "first"), pytest.raises(LockedError, match=r"`first`.*remove memory.*s\.zarr\.lock"):
        assert fs.exists(url + ".lock")
        with only_writer(url, "second"):
            pass
    assert not fs.exists(url + ".lock")


def test_the_object_of_a_process_that_is_gone_is_taken_over_that_of_another_machine_is_not(tmp_path):
    url = f"memory://{tmp_path.name}/s.zarr"
    fs = fsspec.filesystem("memory")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = Owner.this("die").model_copy(update={"pid": ended.pid})
    assert gone.gone and not Owner.this("live").gone
    fs.pipe_file(url + ".lock", gone.to_json().encode())
    with only_writer(url, "second"):
        pass
    fs.pipe_file(url + ".lock", gone.model_copy(update={"host": "elsewhere"}).to_json().encode())
    with pytest.raises(LockedError, match="on elsewhere"), only_writer(url, "second"):
        pass
    fs.rm_file(url + ".lock")


def test_a_process_of_the_same_number_that_started_at_another_time_is_another():
    assert Owner.this("live").model_copy(update={"started": "another boot:1"}).gone


def test_a_folder_that_cannot_be_written_locks_the_target_itself(tmp_path, holder):
    if os.getuid() == 0:
        pytest.skip("root may write anywhere")
    inside = tmp_path / "fixed" / "s.zarr"
    inside.mkdir(parents=True)
    inside.parent.chmod(0o555)
    try:
        holder("only_writer", inside)
        with pytest.raises(LockedError, match="another process"), only_writer(inside, "come second"):
            pass
    finally:
        inside.parent.chmod(0o755)


def test_a_run_folder_keeps_its_lock_inside(tmp_path):
    with folder_writer(tmp_path / "run", "fit"):
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK_NAME]
    assert not list(Path(tmp_path / "run").iterdir())

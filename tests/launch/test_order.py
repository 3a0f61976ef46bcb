"""Orders: where they lie, and that a job follows none that another user could have written."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launch import order, task
from launch.order import Order, Task
from stages import own
from stages.jsonfile import Spoilt
from stages.own import NotOwn

TOKEN = "0123456789ab"


def written(store: Path, log: Path) -> Path:
    folder = order.make(store, TOKEN)
    task = Task(folders=[], log=str(log))
    Order(token=TOKEN, tasks=[task], root="/", packages={}, time=1).write(folder)
    return folder


def test_an_order_can_be_written_by_its_user_alone_whatever_the_umask_of_the_store(tmp_path: Path) -> None:
    tmp_path.chmod(0o2775)
    before = os.umask(0o002)
    folder = written(tmp_path, tmp_path / "log")
    os.umask(before)
    assert folder == tmp_path / "users" / own.login(os.getuid()) / "jobs" / TOKEN
    assert [path.stat().st_mode & 0o777 for path in (folder, folder / order.ORDER)] == [0o755, 0o644]
    assert order.mine(folder) == order.read(folder)
    assert order.store_of(folder) == tmp_path


def group_may_write(file: Path) -> None:
    file.chmod(0o664)


def link(file: Path) -> None:
    file.rename(file.with_name("other"))
    file.symlink_to("other")


def of_another_job(file: Path) -> None:
    file.write_text(file.read_text().replace(TOKEN, "b" * 12))


def of_another_user(file: Path) -> None:
    os.chown(file, 64002, -1)


def empty(file: Path) -> None:
    file.write_text("{}")


PLANTED = [group_may_write, link, of_another_job, empty, of_another_user]


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_job_does_not_follow_an_order_that_somebody_else_could_have_written(
    plant: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if plant is of_another_user and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    folder = written(tmp_path, tmp_path / "bashrc")
    plant(folder / order.ORDER)
    with pytest.raises((NotOwn, Spoilt), match=str(folder / order.ORDER)):
        order.mine(folder)
    assert task.main(folder, 0) == 1
    assert capsys.readouterr().err.startswith("the order is not followed: ")
    assert not (tmp_path / "bashrc").exists()


def test_orders_are_found_where_they_are_ones_own_first_and_those_of_an_earlier_version_last(tmp_path: Path) -> None:
    mine = tmp_path / "users" / own.login(os.getuid()) / "jobs" / TOKEN
    for place in (tmp_path / "jobs" / TOKEN, tmp_path / "users/another/jobs" / TOKEN, mine):
        place.mkdir(parents=True)
        assert order.find(tmp_path, TOKEN) == place
    assert order.folders(tmp_path) == sorted([mine, tmp_path / "jobs" / TOKEN, tmp_path / "users/another/jobs" / TOKEN])


@pytest.mark.parametrize("token", ["", "..", "../../etc", "*"])
def test_what_is_no_token_names_no_folder(token: str, tmp_path: Path) -> None:
    order.make(tmp_path, TOKEN)
    assert not order.find(tmp_path, token).exists()


def link_to(file: Path, target: Path) -> None:
    file.symlink_to(target)


def pipe(file: Path, target: Path) -> None:
    os.mkfifo(file)


@pytest.mark.parametrize("plant", [link_to, pipe], ids=lambda plant: plant.__name__)
def test_a_log_that_is_a_link_is_not_written_through(plant: Callable[[Path, Path], None], tmp_path: Path) -> None:
    log, target = tmp_path / "logs/toy/A-1.txt", tmp_path / "bashrc"
    log.parent.mkdir(parents=True)
    target.write_text("before\n")
    plant(log, target)
    read, write = os.pipe()
    if (pid := os.fork()) == 0:
        os.dup2(write, 1)
        with open(write, "w") as sys.stdout:
            task._print_to(log)
        os.write(1, b"printed\n")
        os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read) as stream:
        first, second = stream.read().splitlines()
    assert first.startswith(f"{log} is not written: ") and second == "printed"
    assert target.read_text() == "before\n"

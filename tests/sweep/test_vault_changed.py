"""Somebody changes a file of the vault: nothing is said of bytes that did not come, and others are not hurt."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sweep.world import World, make_world


@pytest.mark.timeout(600)
def test_a_file_that_was_changed_or_cut_is_noticed(tmp_path: Path) -> None:
    """One byte of one photograph, the end of the other: both jobs fail with the reason; the next study is well."""
    with make_world(tmp_path / "world") as world:
        world.study()
        files = world.paint()
        assert world.device.send(world.port, files)
        right, left = kept(world, world.studies[-1])
        data = bytearray(right.read_bytes())
        data[-100] ^= 1
        right.write_bytes(data)
        os.truncate(left, left.stat().st_size - 100)

        world.wait_for(lambda: len(reasons(world)) == 2, "noticed")
        world.study(ended=2)

    assert reasons(world) == ["file-damaged", "file-damaged"]


def kept(world: World, study: str) -> list[Path]:
    """Where the files of a study lie."""
    query = "SELECT i.path, s.study_instance_uid AS uid FROM instance i JOIN study s ON s.id = i.study_id ORDER BY i.id"
    return [world.judge.store / row["path"] for row in world.judge.rows(query) if row["uid"] == study]


def reasons(world: World) -> list[str]:
    """Why jobs have failed."""
    return [row["reason"] for row in world.judge.rows("SELECT reason FROM job WHERE state = 'failed'")]

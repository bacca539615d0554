from __future__ import annotations

import os
from pathlib import Path

import pytest

from voiced.synthesis.cores import usable_cores


@pytest.fixture
def cpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four CPUs on two cores, all allowed."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    for cpu in range(4):
        topology = tmp_path / f"cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(f"{cpu % 2},{cpu % 2 + 2}\n")
    return tmp_path


def test_hyper_threads_count_once(cpus: Path) -> None:
    assert usable_cores(cpus, cpus / "none") == 2


def test_where_nothing_is_known_each_cpu_counts(cpus: Path) -> None:
    assert usable_cores(cpus / "none", cpus / "none") == 4


@pytest.mark.parametrize(("quota", "cores"), [("150000 100000", 2), ("50000 100000", 1)])
def test_a_container_has_a_quota(cpus: Path, quota: str, cores: int) -> None:
    (cpus / "cpu.max").write_text(quota)
    assert usable_cores(cpus, cpus / "cpu.max") == cores


def test_a_quota_may_be_none(cpus: Path) -> None:
    (cpus / "cpu.max").write_text("max 100000\n")
    assert usable_cores(cpus, cpus / "cpu.max") == 2

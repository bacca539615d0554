"""What `voiced check` finds out about a machine and a network."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from voiced.cli import machine
from voiced.cli.check import judge
from voiced.cli.finding import Verdict
from voiced.discovery import Found

NAME = "voiced on pi"


def found(server_id: str, name: str = NAME) -> Found:
    return Found(name, server_id, f"ws://{server_id}:8765/v1/ws", "", needs_token=True, version="1")


def test_a_clock_of_the_past_fails(tmp_path: Path) -> None:
    finding = machine.clock(0.0, timesync=tmp_path / "none")
    assert finding.verdict is Verdict.FAILED
    assert "1970-01-01 00:00 UTC is in the past" in finding.detail


def test_a_clock_that_nobody_sets_is_told(tmp_path: Path) -> None:
    assert machine.clock(time.time(), timesync=tmp_path / "none").verdict is Verdict.OK
    assert machine.clock(time.time(), timesync=tmp_path).verdict is Verdict.NOTE
    (tmp_path / "synchronized").touch()
    assert machine.clock(time.time(), timesync=tmp_path).verdict is Verdict.OK


def test_a_model_that_does_not_fit_into_memory_fails(tmp_path: Path) -> None:
    large = tmp_path / "model.onnx"
    large.touch()
    os.truncate(large, 1 << 42)  # a hole, without a block on the disk
    (finding,) = machine.model("kokoro", [large])
    assert finding.verdict is Verdict.FAILED
    assert "the model takes some 9,235," in finding.detail
    assert "a smaller model" in finding.detail


def test_a_small_model_is_nothing_to_talk_about(tmp_path: Path) -> None:
    small = tmp_path / "model.onnx"
    small.write_bytes(bytes(100_000))
    assert list(machine.model("kokoro", [small])) == []
    assert machine.read_rate(small) > 0


def test_a_model_that_is_cut_or_gone_is_told_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert list(machine.model("piper", [tmp_path / "empty.onnx"])) == []
    (finding,) = machine.model("piper", [tmp_path / "gone.onnx"])
    assert "cannot be read" in finding.detail
    assert list(machine.model("espeak", [])) == []


def test_the_memory_that_is_free_is_what_the_system_says(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  2000 kB\nMemFree:  10 kB\nMemAvailable:  1000 kB\n")
    assert machine.free_memory(meminfo) == 1_024_000
    assert machine.free_memory(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("others", "verdicts"),
    [
        ([found("me")], ["ok"]),
        ([], ["FAILED"]),
        ([found("you", "voiced on nas")], ["FAILED"]),
        ([found("me"), found("you", f"{NAME} (2)")], ["note", "ok"]),
    ],
)
def test_mdns_is_fine_where_the_daemon_is_found_under_a_name_of_its_own(
    others: list[Found], verdicts: list[str]
) -> None:
    assert [one.verdict for one in judge(others, name=NAME, server_id="me")] == verdicts


def test_without_a_daemon_only_a_namesake_is_told() -> None:
    assert judge([], name=NAME, server_id=None) == []
    (finding,) = judge([found("you")], name=NAME, server_id=None)
    assert "another zeroconf.name" in finding.detail

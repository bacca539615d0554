"""Paths of the configuration."""

from __future__ import annotations

import os
from pathlib import Path

from voiced.backends.paths import stamp


def test_a_stamp_changes_with_a_file_and_with_one_in_a_folder(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    within = folder / "within"
    seen = []
    for change in (lambda: None, lambda: file.write_text("a"), lambda: within.write_text("a")):
        change()
        seen.append(stamp(file, folder))
    within.write_text("b")
    os.utime(within, (1, 1))
    seen.append(stamp(file, folder))
    assert len(set(seen)) == 4

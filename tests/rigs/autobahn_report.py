"""Tells what Autobahn's client found, as a short table. Exits 1 if that was not to be expected.

    python autobahn_report.py INDEX

INDEX is the `index.json` that the client writes; the pages it names stand beside it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Results = Mapping[str, Mapping[str, Any]]  # by case

_CASES = 247  # of autobahntestsuite 25.10.1, without 9, 12 and 13
_FINE = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})
_CLOSED_FINE = frozenset({"OK", "INFORMATIONAL"})
_KNOWN_FAILURES = {
    "7.1.5": ("FAILED", "WRONG CODE"),  # a close within a message: 1002 by websockets, not 1000
}


def _main(index: Path) -> int:
    agents: Mapping[str, Results] = json.loads(index.read_text(encoding="utf-8"))
    results = next(iter(agents.values()), {})
    known = sorted(case for case in _KNOWN_FAILURES if _is_known(case, results))
    unexpected = sorted(
        (case for case in results if case not in known and not _is_fine(results[case])),
        key=lambda case: [int(part) for part in case.split(".")],
    )
    lines = [
        f"cases run: {len(results)} of {_CASES}",
        *_table(results),
        f"failed as known: {', '.join(known) or 'none'}",
        f"failed unexpectedly: {len(unexpected) or 'none'}",
        *(_told(case, results[case], index.parent) for case in unexpected),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(unexpected) or len(results) != _CASES)


def _is_known(case: str, results: Results) -> bool:
    result = results.get(case, {})
    return (result.get("behavior"), result.get("behaviorClose")) == _KNOWN_FAILURES[case]


def _is_fine(result: Mapping[str, Any]) -> bool:
    return result["behavior"] in _FINE and result["behaviorClose"] in _CLOSED_FINE


def _table(results: Results) -> list[str]:
    messages = Counter(result["behavior"] for result in results.values())
    closes = Counter(result["behaviorClose"] for result in results.values())
    return [
        f"  {'behaviour':<16}{'messages':>8}{'close':>8}",
        *(
            f"  {name.lower():<16}{messages[name]:>8}{closes[name]:>8}"
            for name, _ in (messages + closes).most_common()
        ),
    ]


def _told(case: str, result: Mapping[str, Any], folder: Path) -> str:
    page = json.loads((folder / result["reportfile"]).read_text(encoding="utf-8"))
    return (
        f"  {case}: {result['behavior'].lower()}, close {result['behaviorClose'].lower()}\n"
        f"    {page['description']}\n    {page['result']} {page['resultClose']}"
    )


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))

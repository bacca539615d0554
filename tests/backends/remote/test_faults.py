"""The table of faults in `docs/backends.md`, each row of it tried."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from providers import KINDS, Kind, Trouble
from support import REPOSITORY, running_manager, speak

from voiced.errors import VoicedError

_TEXT = "Good morning, everyone. The kettle is on, and the tea is nearly ready."

TROUBLES: dict[str, list[Trouble]] = {
    "401, 403, or a code that says so": [
        Trouble(401, {}),
        Trouble(403, {}),
        Trouble(400, {"error": {"code": "invalid_api_key"}}),
    ],
    "402, or a code of a used-up quota, whatever the status": [
        Trouble(402, {}),
        Trouble(401, {"detail": {"status": "quota_exceeded"}}),
        Trouble(429, {"error": {"code": "insufficient_quota"}}),
    ],
    "429": [Trouble(429, {}, retry_after="0")],
    "408, 409, 425, 5xx; no connection, or one that broke before the first audio": [
        *(Trouble(status, {}, retry_after="0") for status in (408, 409, 425, 500, 502, 503, 529)),
        Trouble(kind="reset", after_bytes=0),
    ],
    "400, 404, 422": [Trouble(400, {}), Trouble(404, {}), Trouble(422, {})],
    "a redirect": [Trouble(kind="redirect")],
    "another content type, no audio, nothing but silence, audio without an end, audio that cannot "
    "be decoded": [Trouble(kind=kind) for kind in ("html", "empty", "silence", "endless")],
    "no first audio in time, or a stall": [Trouble(kind="slow"), Trouble(kind="stall")],
    "broken off midway": [Trouble(kind="cut"), Trouble(kind="reset")],
}


@dataclass(frozen=True)
class Row:
    is_tried_again: bool
    code: str
    circuit: str


def rows() -> dict[str, Row]:
    page = (REPOSITORY / "docs" / "backends.md").read_text(encoding="utf-8")
    table = page.partition("| fault | tried again |")[2].partition("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {
        fault: Row(again.startswith("yes"), re.findall("`(.*?)`", error)[0], circuit)
        for fault, again, error, circuit in cells
    }


TRIED = [(fault, trouble) for fault, troubles in TROUBLES.items() for trouble in troubles]


def test_every_row_is_tried() -> None:
    assert rows().keys() == TROUBLES.keys()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("fault", "trouble"), TRIED, ids=[trouble.kind or str(trouble.status) for _, trouble in TRIED]
)
async def test_a_fault_has_what_its_row_says(kind: Kind, fault: str, trouble: Trouble) -> None:
    row = rows()[fault]
    late_s = 0.2 if trouble.kind == "slow" else 5.0
    async with kind.fake() as fake:
        settings = {"cloud": kind.settings(fake, retries=1, first_audio_timeout_s=late_s)}
        async with running_manager({"cloud": kind.backend}, settings=settings) as manager:
            backend = await manager.get_backend("cloud")
            tries = 2 if row.is_tried_again else 1
            for failures in (tries, 2 * tries, 3 * tries):
                fake.asked.clear()
                fake.will(*[trouble] * tries)
                with pytest.raises(VoicedError) as failure:
                    await speak(manager, _TEXT, model="cloud", response_format="pcm")
                assert failure.value.code == row.code
                assert len(fake.asked) == tries
                assert not fake.troubles
                is_open = backend.trouble() is not None
                is_enough = row.circuit == "counts" and failures >= 3
                assert is_open == (row.circuit.startswith("open") or is_enough)
                if is_open:
                    break

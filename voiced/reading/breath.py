"""Where a reader could breathe in a clause: before a conjunction or a preposition."""

from __future__ import annotations

import re

# Those that bind to what follows and not to what stands before: "because" and "during", not "of".
_WORDS = """
    and but or nor because before after when while whereas if unless until till since although
    though that which who whose where so than as
    with without for from into onto over under between through during about above across against
    along among around behind below beneath beside beyond inside near outside past toward towards
    within at by in on to

    und aber oder sondern denn weil bevor nachdem wenn während obwohl dass ob damit
    mit ohne für von aus bei nach seit über unter zwischen durch gegen vor hinter neben wegen
    mais ou donc car parce avant après quand lorsque pendant comme si qui que dont où
    avec sans pour dans sur sous entre chez vers depuis
    pero sino porque antes después cuando mientras aunque como donde
    con sin para desde hasta sobre bajo entre hacia según durante
    perché prima dopo quando mentre anche se che dove senza per tra fra verso
    porém porque antes depois quando enquanto embora como onde
    com sem desde até sobre sob durante
"""
_LONGEST = 1 + max(map(len, _WORDS.split()))
_BREATH = re.compile(rf"(?<=\s)(?:{'|'.join(sorted(set(_WORDS.split())))})(?=\s)", re.IGNORECASE)


def last_breath(text: str, start: int, end: int, *, limit: int) -> int | None:
    """Return where the last such word in a part begins, None for none; text ends at `limit`."""
    words = _BREATH.finditer(text, start, min(limit, end + _LONGEST))
    return max((word.start() for word in words if word.start() <= end), default=None)

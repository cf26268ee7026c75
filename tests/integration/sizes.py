"""How large the largest tests are: in full, or a share of it for a short run (``STOMPLISTENER_SIZE=0.2``)."""

from __future__ import annotations

import os

_SHARE = float(os.environ.get("STOMPLISTENER_SIZE", "1"))


def sized(full: int) -> int:
    """So many messages or tasks, of ``full``; at least one."""
    return max(1, round(full * _SHARE))


def lasting(full: float) -> float:
    """So many seconds, of ``full``. A short run waits for less than its share, since a wait shows no more for it."""
    return full * min(_SHARE, 1.0) ** 2

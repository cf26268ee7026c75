"""Sub-interpreters, most of which do not allow daemon threads."""

from __future__ import annotations

import threading

from stomplistener.errors import ConnectFailed


def refuse_without_threads() -> None:
    """Refuse to connect in an interpreter that does not allow daemon threads.

    Raises:
        ConnectFailed: this is such a sub-interpreter. ``stomplistener.protocol`` works without threads.
    """
    try:
        # The interpreter refuses to create the object, not only to start it.
        threading.Thread(target=refuse_without_threads, daemon=True)
    except RuntimeError as error:
        raise ConnectFailed(
            "connecting failed: this sub-interpreter does not allow daemon threads, and a connection runs in them; "
            "connect in the main interpreter, and hand messages over"
        ) from error

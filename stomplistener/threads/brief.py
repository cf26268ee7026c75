"""Taking a lock that is held for a few steps only, by many threads that want it all the time.

Who sleeps until such a lock is free is given it while another thread runs, and that one sleeps at its next step: with
several threads that send, each message cost two changes of threads. Who lets the holder run and asks again is not
given it in his sleep, and the others go on for as long as the interpreter lets them. (To look whether it is free and
then to sleep for it after all will not do: a single sleeper begins it anew.)
"""

from __future__ import annotations

import threading
import time


def take(lock: threading.Lock) -> None:
    """Take the lock; for the fast paths, which release it themselves."""
    while not lock.acquire(False):
        # Not a wait: the interpreter runs somebody else, and sooner or later the holder.
        time.sleep(0)

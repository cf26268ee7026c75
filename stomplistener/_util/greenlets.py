"""gevent: our threads are greenlets if a full ``monkey.patch_all()`` ran before the import of this package.

After a partial or later patch, some of our locks would block a greenlet, and others the whole process, which then
hangs.
"""

from __future__ import annotations

import sys

_NEEDED = ("queue", "select", "socket", "ssl", "threading")


def _patched() -> frozenset[str]:
    monkey = sys.modules.get("gevent.monkey")
    return frozenset(name for name in _NEEDED if monkey is not None and monkey.is_module_patched(name))


_at_import = _patched()


def refuse_half_a_patch() -> None:
    """Raise RuntimeError if gevent has patched only a part of what we use, or after our import."""
    now = _patched()
    if now and now != frozenset(_NEEDED):
        missing = ", ".join(sorted(frozenset(_NEEDED) - now))
        raise RuntimeError(
            f"gevent has patched {', '.join(sorted(now))} and not {missing}: call patch_all() without arguments"
        )
    if now != _at_import:
        raise RuntimeError("gevent has patched the standard library after stomplistener was imported: patch first")

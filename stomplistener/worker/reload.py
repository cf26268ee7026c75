"""Watch the files that change during development."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from stomplistener._util.loggers import library_logger
from stomplistener.worker.extras import needed_for
from stomplistener.worker.options import RunOptions

_log = library_logger("stomplistener.worker")


class Watcher:
    """Watches Python files in a thread, if the options switch reloading on.

    Args:
        changed: called in that thread with the changed paths.

    Raises:
        MissingExtra: the package watchfiles is not installed.
    """

    def __init__(self, options: RunOptions, changed: Callable[[Sequence[str]], object]) -> None:
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        if not options.reload:
            return
        with needed_for("reloading", "reload"):
            from watchfiles import PythonFilter, watch

        def run() -> None:
            for changes in watch(
                *options.reload_paths, watch_filter=PythonFilter(), stop_event=self._stopped, rust_timeout=500
            ):
                changed(sorted({path for _, path in changes}))

        _log.info("watching %s", ", ".join(str(path.resolve()) for path in options.reload_paths))
        self._thread = threading.Thread(target=run, name="reload", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

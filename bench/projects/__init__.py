"""Two small Django projects with the same work: ours, and one with django-outbox-pattern and django-stomp.

Both projects run ``python -m django COMMAND`` with the commands that each package documents. The projects share an
environment, Django, a database and a broker. Environment variables configure the projects: ``BENCH_URI`` (the broker),
``BENCH_DESTINATION``,
``BENCH_COUNT`` (messages), ``BENCH_THREADS``, ``BENCH_WRITES`` (whether a handler writes a row), ``BENCH_PERSISTENT``
(whether messages of the peer's outbox are persistent; ours are by default), and libpq's variables.
"""

"""Two small Django projects that do the same work: ours, and one with django-outbox-pattern and django-stomp.

Both run by ``python -m django COMMAND`` with the commands that each package documents, in one environment, with one
Django, database and broker. The environment says what they work on: ``BENCH_URI`` (the broker), ``BENCH_DESTINATION``,
``BENCH_COUNT`` (messages), ``BENCH_THREADS``, ``BENCH_WRITES`` (whether a handler writes a
row), ``BENCH_PERSISTENT`` (whether rows of the peer's outbox ask for it; ours do by default), and libpq's variables.
"""

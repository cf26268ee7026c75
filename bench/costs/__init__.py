"""The cost map: the CPU time of the client process for each message, for each way of calling.

``rows.py`` has the rows as data. A row has the statement that a program would write. ``sending``, ``receiving`` and
``pulling`` run the statements with the clients of ``clients``, against the server of ``server``. Each side of a row is
a process (``side``) that runs all rounds. ``measure`` runs the sides alternately and compares them, and ``table`` shows
the result.
"""

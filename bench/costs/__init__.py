"""The cost map: what each way of calling costs, in CPU time of the client process for each message.

``rows.py`` has the rows as data. A row has the statement that a program would write; ``sending``, ``receiving`` and
``pulling`` run such statements, on the clients of ``clients``, against the server of ``server``. Each side of a row is
a process (``side``) that stays for all rounds; ``measure`` lets the sides run in turn and compares them, ``table``
shows the result.
"""

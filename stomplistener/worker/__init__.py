"""Applications of listeners: you declare handlers with a decorator, and one or several processes run them.

::

    from stomplistener import Message
    from stomplistener.worker import Application

    app = Application("failover:(tcp://mq1:61613,tcp://mq2:61613)")

    @app.listener("/queue/orders", workers=4, retries=3, error_destination="/queue/orders.failed")
    def book(order: Message) -> None:
        app.send("/queue/invoices", make_invoice(order.json()), confirm=True)

Run it with ``stomplistener worker module:app --processes 4``, or with ``app.run(processes=4)`` at the end of a script.
In a test, the application listens inside the block ``with app.running(): ...``.

===================  =====================================================================
``application``      declares handlers, connections, and context managers around messages
``declarations``     the records of these declarations
``binding``          makes a handler's arguments from its signature; ``payload``, ``codecs``, ``replies``: their types
``handling``         makes one attempt at a message: calls the handler, measures, settles
``inbox``            handles repeated messages only once
``running``          the connections and subscriptions of one run
``process``          one process: signals, hooks, alive-file, metrics, time limits, and an exit code
``supervisor``       starts several processes, or a reloading one, and restarts them
``command``          the options of a command that runs a worker, for click
``test_client``      calls handlers in a test, without a broker
===================  =====================================================================
"""

from stomplistener.policy import TryAgain
from stomplistener.worker.application import Application
from stomplistener.worker.binding import Header
from stomplistener.worker.declarations import Around, Handler
from stomplistener.worker.exits import Exit
from stomplistener.worker.inbox import Inbox, NoIdentity, Repeated, SQLiteInbox
from stomplistener.worker.loading import LoadError, load
from stomplistener.worker.options import RunOptions
from stomplistener.worker.payload import PayloadError
from stomplistener.worker.process import execute
from stomplistener.worker.replies import Reply

__all__ = [
    "Application",
    "Around",
    "Exit",
    "Handler",
    "Header",
    "Inbox",
    "LoadError",
    "NoIdentity",
    "PayloadError",
    "Repeated",
    "Reply",
    "RunOptions",
    "SQLiteInbox",
    "TryAgain",
    "execute",
    "load",
]

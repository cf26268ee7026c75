"""The headers of each broker for the options that STOMP leaves open: one file for each broker.

``durable``, ``prefetch``, ``selector``, ``browse``, ``persistent``, ``expires``, ``priority``, ``delay``,
``duplicate_id`` and the destination of replies mean the same on every broker. For each option, a file has the headers
and their place in the broker's documentation. If the broker does not support an option, the file has the reason. All
headers were tried on the brokers (``tests/integration``). The ``server`` header of CONNECTED selects the file. A new
broker needs one file and a line in ``table``.
"""

from stomplistener.brokers.dialect import Dialect, IfPossible
from stomplistener.brokers.profile import Profile, Spelling
from stomplistener.brokers.table import PROFILES, by_server, host_to_try, refusal_hint

__all__ = ["PROFILES", "Dialect", "IfPossible", "Profile", "Spelling", "by_server", "host_to_try", "refusal_hint"]

"""How each broker spells what STOMP leaves open: one file a broker, chosen by the ``server`` header of CONNECTED.

``durable``, ``prefetch``, ``selector``, ``browse``, ``persistent``, ``expires``, ``priority``, ``delay``,
``duplicate_id`` and the destination of replies mean the same on every broker. Each file gives the headers that say it
there, with the place in the broker's documentation that it was read in, or the reason why the broker cannot do it. All
of it was tried on the brokers themselves (``tests/integration``). A new broker is one file and its line in ``table``.
"""

from stomplistener.brokers.dialect import Dialect, IfPossible
from stomplistener.brokers.profile import Profile, Spelling
from stomplistener.brokers.table import PROFILES, host_to_try, profile_of, refusal_hint

__all__ = ["PROFILES", "Dialect", "IfPossible", "Profile", "Spelling", "host_to_try", "profile_of", "refusal_hint"]

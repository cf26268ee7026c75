"""The colours of stomp.py's command line. Programs may import these names; this library does not use them."""

import platform

_HAS_COLOURS = platform.system().lower() != "windows"

GREEN = "\33[32m" if _HAS_COLOURS else ""
RED = "\33[31m" if _HAS_COLOURS else ""
BOLD = "\33[1m" if _HAS_COLOURS else ""
NO_COLOUR = "\33[0m" if _HAS_COLOURS else ""

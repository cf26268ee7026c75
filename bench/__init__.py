"""Speed, measured against the peers and the wire: ``make bench``, or ``python -m bench --help``."""

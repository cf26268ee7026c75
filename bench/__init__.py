"""Benchmarks against other clients and plain sockets: ``make bench``, or ``python -m bench --help``."""

"""STOMP client for Python programs with threads."""

__version__ = "0.1.0.dev0"

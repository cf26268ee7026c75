"""Connections over protocols other than TCP."""

from stomplistener.compat.stomp.adapter import ws

__all__ = ["ws"]

"""The handler. ``stomp_worker`` finds it by the name of this module."""

from bench.projects.common import DESTINATION, THREADS, Work
from stomplistener import Message
from stomplistener.contrib.django import listener

work = Work()


@listener(DESTINATION, workers=THREADS)
def handle(message: Message) -> None:
    work(message.json())

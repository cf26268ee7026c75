"""Leaving one broker, for another or for good."""

from __future__ import annotations

import logging

from stomplistener._util.deadline import Deadline
from stomplistener._util.fork import ADVICE, disown
from stomplistener.core.answer import Answer
from stomplistener.core.saying import Saying
from stomplistener.errors import ClosedAfterFork, StompError
from stomplistener.protocol import SessionState
from stomplistener.states import ConnectionState

_log = logging.getLogger("stomplistener")


class Leaving(Saying):
    """The graceful ways from one connection to the next, or to none."""

    # Moving to a preferred broker: the standby thread

    def move_away(self, deadline: Deadline) -> bool:
        """Leave this connection in good order, for a spare that waits; False if something stayed open for too long.

        New SENDs and BEGINs are held back as in an outage. What listeners hold is settled here, since no other broker
        knows it; messages of ack mode ``auto`` that have come are delivered later.
        """
        with self.lock:
            if self.state is not ConnectionState.CONNECTED:
                return False
            epoch = self.session.epoch
            self.move(ConnectionState.SUSPENDED)
        self.delivery.hold()
        try:
            if not self._is_at_rest(epoch, deadline):
                self._stay(epoch)
                return False
            self.stop_auto(deadline, for_good=False, epoch=epoch)
            answer = self.new_answer()
            if self.say_now(lambda session: session.disconnect(answer) if self._is_leaving(epoch) else None):
                self.await_answer(answer, deadline, "DISCONNECT")
        except StompError as error:
            _log.info("%s: the connection ended while it was being left: %s", self.config.name, error)
            if self._is_leaving(epoch):
                self.broken(error)
        finally:
            self.delivery.go_on()
        return True

    def _is_leaving(self, epoch: int) -> bool:
        """Whether the connection of this epoch is still there, and on its way to be left for another one."""
        return self.state is ConnectionState.SUSPENDED and self.session.epoch == epoch

    def _is_at_rest(self, epoch: int, deadline: Deadline) -> bool:
        """Wait until nothing is open here, or there is nothing to leave any more."""
        session = self.session

        def over() -> bool:
            return not self._is_leaving(epoch) or session.state is not SessionState.CONNECTED

        self.outbox.flush(deadline.remaining())
        answered = self.wait_for_answers(lambda: session.is_idle or over(), deadline)
        return answered and (over() or self.delivery.wait_settled(deadline))

    def _stay(self, epoch: int) -> None:
        with self.lock:
            if self._is_leaving(epoch) and self.session.state is SessionState.CONNECTED:
                self.move(ConnectionState.CONNECTED)

    # Ending

    def abandon(self) -> None:
        """In the child of a fork: give up the parent's socket without a word, and let every handle on it say so.

        Takes no lock: a thread of the parent may hold it.
        """
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abandon()
        error = ClosedAfterFork(ADVICE)
        for request in self.session.awaited():
            if isinstance(request.context, Answer):
                request.context.abandon(error)
        self.requests.abandon(error)
        disown(self, self.outbox, self.bound, self.delivery, self.requests, *self.lanes)

    def stop_auto(self, deadline: Deadline, *, for_good: bool, epoch: int | None = None) -> None:
        """End the subscriptions whose messages the broker forgets as it writes them: none may come unheard.

        Args:
            for_good: False keeps them registered, to be restored on the next connection.
            epoch: nothing is said on a later connection than this one.
        """
        answers: list[Answer] = []
        with self.lock:
            for entry in tuple(self.session.subscriptions.values()):
                if entry.ack == "auto" and entry.durable is None and epoch in (None, self.session.epoch):
                    answer = self.new_answer()
                    frame = self.session.unsubscribe(entry, confirm=True, context=answer, keep=not for_good)
                    if frame is not None:
                        self._put(frame)
                        answers.append(answer)
        for answer in answers:
            self.await_answer(answer, deadline, "UNSUBSCRIBE")

    def end_subscriptions(self) -> None:
        """The application is done with the connection: none of its subscriptions is to be restored."""
        with self.lock:
            for entry in tuple(self.session.subscriptions.values()):
                self.session.unsubscribe(entry)
            self.changed.notify_all()

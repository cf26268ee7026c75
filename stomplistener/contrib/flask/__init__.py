"""STOMP in Flask: listeners in the application context, ``flask stomp worker``, and a publisher per process.

::

    from flask import Flask, request
    from stomplistener import Message
    from stomplistener.contrib.flask import Stomp

    stomp = Stomp()

    @stomp.listener("/queue/orders", retries=3, error_destination="/queue/orders.failed")
    def book(order: Message) -> None:
        db.session.add(Order(**order.json()))
        db.session.commit()

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config.from_prefixed_env()          # FLASK_STOMP_URL=failover:(tcp://mq1:61613,tcp://mq2:61613)
        stomp.init_app(app)

        @app.post("/orders")
        def order():
            stomp.send("/queue/orders", request.get_data(), confirm=True)
            return "", 202

        return app

===============  =====================================================================
``extension``    ``Stomp``, the extension: declares listeners and sends
``site``         the configuration, publishers and worker of one application
``config``       checks ``app.config`` and makes the arguments of connections
``commands``     ``flask stomp worker`` and ``flask stomp ping``
===============  =====================================================================
"""

from stomplistener.contrib.flask.extension import Stomp

__all__ = ["Stomp"]

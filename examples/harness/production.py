"""The order service as it runs in production: see ``order_service.py``."""

from pathlib import Path

from order_service import Ledger, order_service

app = order_service(Ledger(Path("orders.db")))

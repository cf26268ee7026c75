"""Applications that hang, that kill their process, and that are deployed anew.

``QUEUE`` is where they listen, ``DECLARED`` the headers that declare it for those that kill, as JSON.
"""

HEAD = """
import json
import os
import signal
import time

from stomplistener.worker import Application, SQLiteInbox

app = Application()
queue = os.environ.get("QUEUE", "/queue/work")
book = os.open(os.environ["BOOK"], os.O_WRONLY | os.O_APPEND)


def note(message):
    os.write(book, f"{message.text} {os.getpid()} {message.redelivered}\\n".encode())

"""

HANGS = (
    HEAD
    + """
@app.listener(queue, time_limit=0.5, workers=2)
def work(message):
    note(message)
    while message.text == "hang" and not message.redelivered:
        time.sleep(0.05)
"""
)

KILLS = (
    HEAD
    + """
declared = json.loads(os.environ.get("DECLARED", "{}"))


@app.listener(queue, max_deliveries=3, error_destination=f"{queue}.failed", headers=declared)
def work(message):
    note(message)
    if message.text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
"""
)

DEPLOYED = (
    HEAD
    + """
VERSION = open(os.path.join(os.path.dirname(__file__), "version")).read().strip()


@app.listener(queue)
def work(message):
    time.sleep(0.005)
    os.write(book, f"{message.text} {os.getpid()} {VERSION}\\n".encode())
"""
)

"""``python -m stomplistener``: the same as the command ``stomplistener``."""

from stomplistener.cli import main

if __name__ == "__main__":
    main()

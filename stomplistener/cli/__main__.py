"""``python -m stomplistener.cli``: the same as ``stomplistener``."""

from stomplistener.cli import main

if __name__ == "__main__":
    main()

"""Run one of the processes that train together."""

from .worker import main

if __name__ == "__main__":
    main()

"""Training and scoring beside PyOD, pythae and skorch: these two sections of speed.py alone.

    python benchmarks/peers.py [--rounds 5]

Peers that are not installed are left out and named (``pip install pyod pythae skorch``).
"""

from speed import main

if __name__ == "__main__":
    main("training,scoring")

"""Runs in the peers' own environment: fit TVAE or CTGAN, sample a table, say the CPU seconds.

PYTHON _synthesis_peer.py METHOD SEED N_ROWS TABLE.csv CATEGORIES.json SAMPLE.csv
"""

import json
import sys
import time
from pathlib import Path

import ctgan
import pandas as pd
import torch


def main() -> None:
    method, seed, n_rows, table, categories, sample = sys.argv[1:]
    torch.set_num_threads(1)
    names = json.loads(Path(categories).read_text())
    train = pd.read_csv(
        table, dtype=dict.fromkeys(names, str), keep_default_na=False, float_precision="round_trip"
    )
    started = time.process_time()
    model = getattr(ctgan, method)(enable_gpu=False)
    model.set_random_state(int(seed))
    model.fit(train, names)
    model.sample(int(n_rows)).to_csv(sample, index=False)
    print(time.process_time() - started)


if __name__ == "__main__":
    main()

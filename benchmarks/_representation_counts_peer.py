"""Runs in the peer's own environment: fit scVI to counts, write its codes, say the seconds.

PYTHON _representation_counts_peer.py SEED N_COMPONENTS COUNTS.npz CODES.npy
"""

import sys
import time
import warnings

import anndata
import numpy as np
import scvi
import torch
from scipy.sparse import load_npz


def main() -> None:
    seed, n_components, counts, codes = sys.argv[1:]
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    scvi.settings.seed = int(seed)
    table = anndata.AnnData(load_npz(counts).astype(np.float32))
    scvi.model.SCVI.setup_anndata(table)
    started = time.process_time(), time.perf_counter()
    model = scvi.model.SCVI(table, n_latent=int(n_components))
    model.train(accelerator="cpu", enable_progress_bar=False)
    np.save(codes, model.get_latent_representation())
    print(time.process_time() - started[0], time.perf_counter() - started[1])


if __name__ == "__main__":
    main()

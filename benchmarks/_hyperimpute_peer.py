"""HyperImpute on one table, run by the interpreter of an environment of its own.

    PYTHON benchmarks/_hyperimpute_peer.py IN.csv OUT.csv SEED

HyperImpute 0.1.17 needs pandas below 3 (it fills in place, and silently returns means with copy
on write) and scikit-learn below 1.6.
"""

import sys

import pandas as pd
from hyperimpute.plugins.imputers import Imputers


def main() -> None:
    source, target, seed = sys.argv[1:]
    table = pd.read_csv(source)
    imputer = Imputers().get("hyperimpute", random_state=int(seed))
    out = pd.DataFrame(imputer.fit_transform(table.copy()))
    out.columns = table.columns
    out.to_csv(target, index=False)


if __name__ == "__main__":
    main()

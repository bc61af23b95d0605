"""Training by several processes, on one machine or many.

From Python, :func:`fit` starts the processes itself.  On several machines each one starts them
by ``python -m torch.distributed.run ... -m skvae.distributed``; see the user guide.
"""

from .launcher import fit

__all__ = ["fit"]

"""Forked processes, and what a call may not leave changed in its own."""

import multiprocessing
import sys

import pytest
import torch
from threadpoolctl import threadpool_info

can_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no forks on this system"
)


def settings():
    """Threads, precision and the like of this process."""
    blas = {i["filepath"]: i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}
    grad, flushed = torch.is_grad_enabled(), sys.float_info.min / 2 == 0.0
    return blas, torch.get_num_threads(), torch.get_default_dtype(), grad, flushed


def in_fork(function, *args, seconds=200):
    """What the function gives, or its error, in a forked process."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def answer():
        try:
            there.send(function(*args))
        except BaseException as error:
            there.send(error)

    process = context.Process(target=answer)
    process.start()
    try:
        assert here.poll(seconds), "a fork hangs"
        return here.recv()
    finally:
        process.join(1)
        if process.is_alive():
            process.kill()

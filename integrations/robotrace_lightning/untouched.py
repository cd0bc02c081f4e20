"""What an evaluation of ours leaves as it was: random streams, the modes of all modules, gradients."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["evaluating", "random_streams"]


@contextlib.contextmanager
def random_streams(device: torch.device, seed: int | None = None) -> Iterator[None]:
    """Python's, NumPy's and PyTorch's streams are afterwards what they were before.

    Args:
        device: The module's; the streams of other devices are not used, and not asked for: that would make a CUDA
            context of 300 MB on each.
        seed: What they start from in between; None: as they are.
    """
    python, numpy = random.getstate(), np.random.get_state(legacy=False)
    cuda: Any = torch.cuda if device.type == "cuda" and torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call, unused-ignore]
    index = cuda.current_device() if cuda is not None and device.index is None else device.index
    mps = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=[] if cuda is None else [index]):
        try:
            if seed is not None:
                random.seed(seed)
                np.random.seed(seed % 2**32)
                # Not torch.manual_seed, which is of all devices.
                torch.default_generator.manual_seed(seed)
                if cuda is not None:
                    cuda.default_generators[index].manual_seed(seed)
                if mps is not None:
                    torch.mps.manual_seed(seed)
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            if mps is not None:
                torch.mps.set_rng_state(mps)


@contextlib.contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Every module in evaluation mode and no gradients; afterwards each is in the mode it was in."""
    modes = [(one, one.training) for one in module.modules()]
    try:
        module.eval()
        with torch.no_grad():
            yield
    finally:
        for one, mode in modes:
            one.training = mode

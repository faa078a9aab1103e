"""Third-party talk that says nothing to a user, silenced around the calls that cause it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

NOISY_LOGGERS = (
    "torchao",  # CUDA libraries that a CPU build cannot load
    "torch.utils._pytree",  # enum registrations of torchao
    "torch.onnx",  # torchvision is not installed
    "transformers",
)


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore deprecations, experimental notices and the loggers above inside of the block."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for category in (DeprecationWarning, FutureWarning, UserWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

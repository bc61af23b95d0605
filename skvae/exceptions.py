"""Errors and warnings of skvae: one root for the errors, one sentence for each."""


class SkvaeError(Exception):
    """Root of the errors that only skvae raises."""


class DivergedError(SkvaeError, ArithmeticError):
    """The loss stopped being a finite number during training."""


class VersionError(SkvaeError, ValueError):
    """A saved model was written by a newer major version of skvae."""


class StateError(SkvaeError, ValueError):
    """A saved model is damaged, or holds what no model does."""


class WorkerLostError(SkvaeError, RuntimeError):
    """A process that took part in training is no longer there."""


class ExportError(SkvaeError, ValueError):
    """A part of a model has no counterpart in the format that it is exported to."""


class CheckpointError(SkvaeError, ValueError):
    """A checkpoint is not of the fit that would go on from it."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written, or not be read and was left alone."""


class DeviceMemoryError(SkvaeError, MemoryError):
    """The memory of a device is too small for what was asked of it."""


class SmallerBatchesWarning(UserWarning):
    """The memory of a device was full, and fewer rows were worked on at once."""


class PosteriorCollapseWarning(UserWarning):
    """The latent code carries no information about the rows."""


class UnusedLatentsWarning(PosteriorCollapseWarning):
    """Half of the latents or more carry no information about the rows."""

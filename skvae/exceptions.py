"""Errors and warnings of skvae: one root for the errors, one sentence for each."""


class SkvaeError(Exception):
    """Root of the errors that only skvae raises."""


class DivergedError(SkvaeError, ArithmeticError):
    """The loss stopped being a finite number during training."""


class VersionError(SkvaeError, ValueError):
    """A saved model was written by a newer major version of skvae."""


class ExportError(SkvaeError, ValueError):
    """A part of a model has no counterpart in the format that it is exported to."""


class PosteriorCollapseWarning(UserWarning):
    """The latent code carries no information about the rows."""


class UnusedLatentsWarning(PosteriorCollapseWarning):
    """Half of the latents or more carry no information about the rows."""

"""The errors that a user can cause. Each message says what was wrong, with the value, and what to do about it."""

from __future__ import annotations


class SciceVPRError(Exception):
    """Base of every error that a user can cause and mend."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, else the error's type."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


class UsageError(SciceVPRError):
    """An argument or an option that cannot be honoured."""


class ImageError(SciceVPRError):
    """A photo that cannot be read."""


class WeightsError(SciceVPRError):
    """Weights that are missing, unsafe, incomplete or made for another variant."""


class DatasetError(SciceVPRError):
    """A dataset folder, file name or table that does not hold what it should."""


class ClusterError(SciceVPRError):
    """A Ray cluster that is not there, is too small, or broke down."""


class IndexMismatchError(SciceVPRError):
    """Stored descriptors, a PCA or an index that belong to another model, photo set or protocol."""

"""The one error that a bad file raises."""


class RawFileError(ValueError):
    """A raw file that cannot be read: what was expected, what came, in one line."""


class UnsupportedRawError(RawFileError):
    """A valid raw file of a kind that this library does not render, refused by name."""


class CutFileError(RawFileError):
    """The file ends before what it says it holds: a part of it is missing, so nothing it says can be left out."""

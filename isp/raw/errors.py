"""The one error that a bad file raises."""


class RawFileError(ValueError):
    """A raw file that cannot be read: what was expected, what came, in one line."""


class UnsupportedRawError(RawFileError):
    """A valid raw file of a kind that this library does not render, refused by name."""

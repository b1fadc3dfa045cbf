"""The errors a user can meet. Each message is one line: where, what it is, what it must be, what to do."""


class ShifthwError(Exception):
    """Bad input or a missing tool; the command line prints it as one line and exits with 2."""


class BadModelFile(ShifthwError):
    """The file is not a model this tool can load safely."""


class UnsupportedModel(ShifthwError):
    """The model holds something that has no mapping onto the engine."""


class DoesNotFit(ShifthwError):
    """The model, or the array asked for, exceeds the board."""


class BadImages(ShifthwError):
    """Images or labels of the wrong shape, type or range."""


class OutputInTheWay(ShifthwError):
    """The output path holds something that this tool did not write."""


class ToolMissing(ShifthwError):
    """An external program or library that a step needs is not there."""

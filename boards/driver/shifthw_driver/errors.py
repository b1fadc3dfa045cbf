"""What can go wrong on a board. Every text is one line: where, what it is, what it must be, what to do."""


class DriverError(Exception):
    """Anything that the command line prints without a traceback; it exits with 2."""


class BadFolder(DriverError):
    """The driver's folder is damaged, or not one."""


class BadImages(DriverError):
    """The images do not fit the network."""


class NoHardware(DriverError):
    """Something that the backend needs is not on this system."""


class WrongHardware(DriverError):
    """The programmable logic holds something else than this build, or runs at another clock."""


class MemoryFault(DriverError):
    """What the engine moved through the memory came out wrong."""


class NoRails(DriverError):
    """The power rails cannot be read, or what they show cannot be true."""


class EngineError(DriverError):
    """The engine stopped with an error; it is reset and can be used again.

    code : shifthw_driver.registers.ErrorCode, or the number that it does not know
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class EngineHang(DriverError):
    """The engine was not done in the time that it needs; it is reset and can be used again, unless the text says no."""

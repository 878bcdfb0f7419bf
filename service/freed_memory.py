"""What becomes of memory that is freed: the C library keeps much of it, for what may come."""

import ctypes


def give_back_freed_memory() -> None:
    """Have the C library give back what this process has freed, where it can; that takes up to tens of milliseconds."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):  # only glibc has it
        return
    trim(0)

"""Time and size as people read them."""


def duration(seconds: float) -> str:
    """Minutes and seconds; hours where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def megabytes(size: int) -> str:
    """Units of 10^6 bytes."""
    return f"{size / 1e6:.1f} MB"

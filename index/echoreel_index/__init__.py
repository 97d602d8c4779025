"""Find clips of an action in a folder of videos."""

if __name__ != "echoreel_index":
    raise ImportError(f"import this package as echoreel_index, not as {__name__}: two copies of one class are never equal")

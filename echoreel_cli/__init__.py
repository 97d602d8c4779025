"""echoreel: make a frozen video model do an action by showing it videos in which someone does."""

__version__ = "0.1.0"

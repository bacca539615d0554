"""voiced: the speech daemon that gives every device in a home a voice."""

__version__ = "0.1.0"

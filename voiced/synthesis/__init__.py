"""From a request to frames: `manager.py` is the one door, read it first."""

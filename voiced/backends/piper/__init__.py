"""Piper: neural voices for small machines."""

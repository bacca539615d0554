"""Samples and bytes: normalising what engines make, encoding it as it streams."""

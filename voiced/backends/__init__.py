"""The engines, one file each, behind one contract."""

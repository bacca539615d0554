"""The doors: bytes in, bytes out. What the bytes mean is the protocols' business."""

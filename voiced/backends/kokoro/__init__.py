"""Kokoro, by ONNX or PyTorch."""

"""Policies that run without this package: ONNX files, and NumPy alone."""

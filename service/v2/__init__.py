"""The Open Inference Protocol, version 2, as Triton extends it: tensors on the wire, inputs and label sets as tensors.

What is said here of tensors knows no HTTP but for `wire.py` and `compression.py`.
"""

"""The Open Inference Protocol v2 with Triton's extensions: what stands in a request and an answer, tensor by tensor.

`wire.py` and `compression.py` know how HTTP carries them; the other modules do not.
"""

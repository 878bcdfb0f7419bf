"""What holds for every test; what tests of more than one package need is in `tests/plugins/`."""

import os

import hypothesis

# The models of the tests are so small that threads within an operator would only wait for each other. Before torch and
# onnxruntime are imported, and inherited by every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Time is measured elsewhere: here the first example of a test may be the one that loads a library.
hypothesis.settings.register_profile("labelset", deadline=None)
hypothesis.settings.load_profile("labelset")

pytest_plugins = ["services", "small_data", "small_models", "triton_server"]

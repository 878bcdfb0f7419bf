"""Speed of the service: ours, the raw ceiling and five peers as real servers, compared in one run.

`python -m benchmarks.serving` measures; `contestants.py` says who takes part and how each is set up, `peers.py` which
versions, `workloads.py` which models and inputs, `rounds.py` how they take turns, `drills.py` what happens under
overload, broken inputs and reloads. `inside/` runs within the peers, in their own environments.
"""

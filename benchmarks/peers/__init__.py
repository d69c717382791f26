"""
The same programs for other engines, each run by a Python that has only that engine.

``python -m benchmarks.peers.NAME PROGRAM SIZE FOLDER`` prints figures as JSON. Nothing
here may import this package's own dependencies.
"""

"""
The measured programs: one module each, run in a process of its own.

Each has ``SIZES`` (``full`` for ``make bench``, ``tiny`` for the test suite), ``ONCE``
(whether one run already holds its repetitions) and ``measure(folder, size)``, which
returns figures by name.
"""

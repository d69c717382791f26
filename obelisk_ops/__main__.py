"""``python -m obelisk_ops`` is the same as ``obelisk-ops``."""

from obelisk_ops.cli import main

main()

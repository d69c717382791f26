"""The command line: parse, call one service, print. One file per noun."""

from obelisk_ops.cli.root import main

__all__ = ["main"]

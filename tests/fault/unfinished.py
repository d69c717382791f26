"""A plain application that commits one row: ``python unfinished.py DATABASE VALUE``."""

from __future__ import annotations

import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("INSERT INTO t VALUES (?)", (sys.argv[2] * 9_000,))

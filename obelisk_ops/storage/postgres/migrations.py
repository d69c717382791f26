"""
What leads from the first version of the tables to this one.

``schema.sql`` always makes the newest; a step is added here with every change to it, with its
statements in ``migrations.sql``. What was released is never changed.
"""

from __future__ import annotations

from typing import Final

from obelisk_ops.core.migrating import Migration, Standing, newest

#: in order, without a hole: 2, 3, …
MIGRATIONS: Final[tuple[Migration, ...]] = ()
#: what tables are that this program makes
NEWEST: Final[Standing] = newest(MIGRATIONS)

"""Looking into a database without changing a byte of it, and without running anything."""

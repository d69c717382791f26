"""What `make demo` runs: the main job on real input, each claim checked."""

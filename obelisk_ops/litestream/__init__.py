"""What we know of the program Litestream: its configuration, arguments, socket and files."""

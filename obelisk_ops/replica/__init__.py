"""What a backup looks like in the bucket: its keys, its epochs, its restore points."""

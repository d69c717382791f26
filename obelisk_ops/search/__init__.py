"""Finding executions in every backup of a bucket, through a catalogue that is kept here."""

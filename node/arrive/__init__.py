"""What comes in, by whichever way: bytes to the spool, rows to the worklist."""

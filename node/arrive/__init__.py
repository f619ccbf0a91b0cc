"""What the node receives, by every way: bytes go to the spool, rows to the worklist."""

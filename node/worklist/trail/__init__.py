"""What happened: the audit trail and its chain, and the events of studies."""

"""The node: receive, assemble, triage, report, deliver, with the SQL worklist as its memory."""

"""How the node runs: claims, jobs, processes, the clock, alarms."""

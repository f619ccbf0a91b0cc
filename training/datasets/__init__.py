"""Readers of public head CT data sets, and the writer of CT series."""

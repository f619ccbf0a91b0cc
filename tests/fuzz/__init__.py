"""Hostile input at each door of the node: what a peer may send, and what may come of it.

seeds.py      valid inputs, made of phantoms
mutations.py  inputs that are nearly valid
doors.py      the node's real code behind each door
replay.py     runs inputs through a door in a process with limits (`make fuzz` too)
corpus/       seeds and every finding, replayed by `test_corpus.py`
"""

"""Writes files of LArCV1 and LArCV2 with ROOT, in a process of its own.

It imports nothing of `root/`, so that the process does without uproot, which takes long to import.
"""

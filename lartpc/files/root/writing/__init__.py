"""Writes files of LArCV1 and LArCV2 with ROOT, in a process of its own."""

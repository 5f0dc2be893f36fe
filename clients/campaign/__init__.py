"""Campaigns: thousands of files, each scored once (`ssnet campaign`)."""

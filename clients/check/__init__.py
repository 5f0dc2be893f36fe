"""The acceptance test: is an output what the production client should have made?"""

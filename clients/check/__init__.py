"""The acceptance test: compares an output of the production client with its inputs."""

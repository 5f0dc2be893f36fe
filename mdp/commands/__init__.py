"""The `mdp` command and what its sub-commands do."""

"""From an event to the crops that the networks take, and back to score images."""

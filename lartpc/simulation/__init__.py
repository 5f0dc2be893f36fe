"""The parts of the toy detector: particles in argon, and the wires that detect them."""

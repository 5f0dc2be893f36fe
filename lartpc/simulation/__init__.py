"""What the toy detector is made of: particles in argon, and the wires that see them."""

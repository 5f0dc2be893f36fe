"""Workers and clients of NumPy arrays. Only this folder of `mdp` needs NumPy."""

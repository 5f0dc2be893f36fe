"""Keys (CURVE): who may connect to a broker, and what each key may do."""

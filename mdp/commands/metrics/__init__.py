"""`mdp metrics`: a broker's figures over HTTP, for Prometheus."""

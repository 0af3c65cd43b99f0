"""Training: the encoder, collaborative weights, the sequence head and the blend of them."""

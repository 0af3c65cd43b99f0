"""Smaller and faster encoders, each with its price: precisions, shorter vectors, and students of fewer layers."""

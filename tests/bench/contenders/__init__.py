"""The servers that are compared, one small module each."""

"""Doors for machines: is this process alive, can it serve, and the figures."""

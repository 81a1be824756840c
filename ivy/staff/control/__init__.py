"""The room in which staff see whether Ivy is well, stop it, and let it go on."""

"""The failure of 2019, staged on private servers: how it goes with a flag in a cache, and how with Ivy."""

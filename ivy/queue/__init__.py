"""django-q2 made safe: the cluster and its watchdog, tick, and what is wrong with either."""

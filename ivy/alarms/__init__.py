"""Alarms to staff. No kind of the customers' mails: neither their switches, nor their breaker, nor the cache has a say.

A trouble is raised once, reminded of after hours, and cleared once it stayed well; `looking` knows what began and what
is over, `outbox` keeps what staff are owed to hear of it until `mail` and `webhook` have told them. All of it by
connections of their own, so that an alarm outlives the transaction in which the trouble shows.
"""

from ivy.alarms.looking import clears_at, look, standing

__all__ = ["clears_at", "look", "standing"]

"""One hypothesis profile: the same examples in every run, and no deadline, since a busy machine proves nothing."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

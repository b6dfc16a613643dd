"""What all tests share: Hypothesis without a deadline, because no test here asserts a time."""

from hypothesis import settings

settings.register_profile("greenspace", deadline=None)
settings.load_profile("greenspace")

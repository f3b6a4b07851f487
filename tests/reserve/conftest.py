"""What the tests of this folder share."""

from fixtures.songs_to_fill import filled, indexed, root  # noqa: F401

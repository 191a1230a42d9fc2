"""What can go wrong here, each with a message that says what to do next."""


class LocalClusterError(Exception):
    """The step could not be done; the message is for a person and says what to do next."""

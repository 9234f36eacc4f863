"""The one exception whose message is fit for a user."""


class UserError(Exception):
    """Something the user can mend: one line saying what was given, what is allowed and what to type."""

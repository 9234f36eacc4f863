"""The one exception whose message is fit for a user."""


class UserError(Exception):
    """Something the user can mend: one line saying what was given, what is allowed and what to type."""


def check_option(allowed: bool, option: str, value: object, advice: str) -> None:
    """UserError unless `allowed`: the option as it is typed, the value it was given, and what to give instead."""
    if not allowed:
        shown = f"{value:g}" if isinstance(value, float) else value
        raise UserError(f"--{option.replace('_', '-')} {shown}: {advice}")

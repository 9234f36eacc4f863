"""What the user is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rnnbptt.errors import UserError


def message_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """What the user is told: always one line."""
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)

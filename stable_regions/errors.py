"""The one exception that means "the user can mend this", and what is kept of others' words."""

import errno
import os
import textwrap


class UserError(ValueError):
    """A mistake in the input: one line with the place, what it holds, and what would be right."""


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line of at most 200 characters."""
    text = str(error).strip() or type(error).__name__
    return textwrap.shorten(text.splitlines()[0], 200, placeholder=" ...")


def no_space(error: BaseException) -> bool:
    """Whether an error says that the disk is full, or a quota used up, in any library's words."""
    return any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT))

"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """A mistake in the input: one line with the place, what it holds, and what would be right."""

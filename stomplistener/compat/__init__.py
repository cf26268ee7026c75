"""Other libraries' names on top of this one, for programs that come from there."""

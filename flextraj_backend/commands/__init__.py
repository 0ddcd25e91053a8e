"""One file a command; each offers NAME and command()."""

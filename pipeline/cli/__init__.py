"""One module a command: arguments, one call, what is printed."""

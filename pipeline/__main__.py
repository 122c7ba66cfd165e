"""`python -m pipeline` is `unet`."""

from .cli.main import command

raise SystemExit(command())

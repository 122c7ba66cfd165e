"""`python -m pipeline` is `unet`."""

from .cli.main import main

raise SystemExit(main())

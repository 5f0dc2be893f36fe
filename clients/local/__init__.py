"""A broker and workers on this machine: `--local` and the demo."""

"""The command-line tools. The only place for click and rich; heavy modules are imported inside the commands."""

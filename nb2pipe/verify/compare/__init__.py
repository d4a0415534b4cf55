"""How values are compared: one file a kind, the table of kinds in `engine`, the process that compares in `child`."""

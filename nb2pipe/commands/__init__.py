"""The commands, a file each: words in, a document and messages out, an exit status."""

"""What a person sees of a conversion: tracebacks in the notebook's terms."""

"""What a trained net is worth: evaluate, report, errors, compare."""

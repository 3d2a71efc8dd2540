"""What estimates are worth: measures with confidence intervals."""

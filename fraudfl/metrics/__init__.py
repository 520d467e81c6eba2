"""How good scores are: summed histograms, exact figures, bootstrap intervals."""

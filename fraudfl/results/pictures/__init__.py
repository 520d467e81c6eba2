"""Pictures as SVG text of our own: deterministic, readable without colour, and on a dark page."""

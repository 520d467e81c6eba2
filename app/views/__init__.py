"""One module for each page; each has one function that draws it."""

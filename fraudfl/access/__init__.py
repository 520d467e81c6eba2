"""Who may look at what a consortium stored, and who may do what with it: roles, and the file that gives them."""

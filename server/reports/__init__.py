"""What the operator makes of the records afterwards: the two reports, and audits."""

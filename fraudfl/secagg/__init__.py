"""Secure aggregation: the coordinator learns the sum of the banks' vectors and none of the vectors."""

"""Who is who in a consortium: keys, enrolment requests, and the operator's signed roster of banks."""

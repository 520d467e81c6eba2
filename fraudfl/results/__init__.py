"""The report of results: what a consortium's phases came to, for the committee that decides how it goes on."""

"""What a round stands on: who is asked, how replies are put together, and pooled data where there is any."""

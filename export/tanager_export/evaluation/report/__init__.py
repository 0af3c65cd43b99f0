"""What an evaluation found, as one page of HTML."""

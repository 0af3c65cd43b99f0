"""What the server remembers of users and what they do."""

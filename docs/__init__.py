"""The site, and the tests that carry out what it says."""

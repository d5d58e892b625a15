"""Which detection is which hand, and where its joints are."""

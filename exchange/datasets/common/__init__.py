"""What several dataset formats share."""

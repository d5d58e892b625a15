"""Drawing motion from a trained model."""

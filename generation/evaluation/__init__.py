"""Evaluation of generated motion: metrics, the evaluator, and `handpipe evaluate`."""

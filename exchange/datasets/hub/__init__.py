"""Folders for the Hugging Face Hub."""

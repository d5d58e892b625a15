"""Rendering of hands, boards and scenes, for synthetic sessions and augmentation."""

"""Rendered pictures: hands, boards, scenes, synthetic sessions and augmentation."""

"""Boards, intrinsics, extrinsics, bundle adjustment."""

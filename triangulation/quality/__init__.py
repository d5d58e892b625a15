"""Whether the views of a rig agree with the hands that were triangulated, and why they do not."""

"""From cameras to a session: back ends, encoders, clocks, and an entry for every frame that was taken or lost."""

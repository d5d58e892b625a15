"""Every golden."""

from __future__ import annotations

import golden_detector
import golden_exchange
import golden_motion
import golden_recording

GOLDENS = (*golden_recording.GOLDENS, *golden_detector.GOLDENS, *golden_motion.GOLDENS, *golden_exchange.GOLDENS)

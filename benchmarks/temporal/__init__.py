"""What happens in time, put into clean clips by recipe, and who finds it: our events beside FFmpeg's detectors."""

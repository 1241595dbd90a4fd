"""An adapter as a plain model directory."""

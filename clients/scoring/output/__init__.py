"""The production client's output: safe in parts, joined at the end, mended where events failed."""

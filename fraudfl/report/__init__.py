"""The privacy report: what was trained, what left, what it cost, and who said yes; as PDF, HTML and JSON, signed."""

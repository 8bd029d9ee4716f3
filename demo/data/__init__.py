"""The synthetic text the demo model is made from: one module a skill, lexicons beside them, and the corpus of lines."""

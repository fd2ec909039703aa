"""``supplement.zip``: what a paper's supplement and its checklist ask for, worked out from the study's directory."""

"""Several models on one stream: arms → report, with its picture → guard."""

"""Examples become weights: example source → trainer → learner → publish, snapshot writer → checkpoint writer; recovery, rollback."""

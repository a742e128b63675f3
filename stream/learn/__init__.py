"""How examples become weights: example source → trainer → learner → publisher, snapshot writer → checkpoint writer; recovery, rollback."""

"""The paper's tables and figures, reproduced: study (offline, online) → runs → results → tables, figures → page; and its theory."""

"""The paper's tables and figures from files: preprocess → dataset → plan → train → results → tables, figures → pages."""

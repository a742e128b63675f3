"""The paper's tables and figures from files: preprocess → dataset → train → study."""

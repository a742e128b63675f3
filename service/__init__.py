"""How people and programs reach it: onboarding → settings → cli → commands → api, console page; bench."""

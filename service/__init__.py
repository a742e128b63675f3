"""How people and programs reach it: onboarding → settings → cli → commands → up (processes), api (HTTP, console page); bench."""

"""How people and programs reach it: onboarding → settings → cli → commands → up, api (HTTP, console); access, telemetry, doctor, report."""

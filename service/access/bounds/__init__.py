"""How much one caller may ask for: connections → bodies → allowances → turns."""

"""How degradations are drawn, mixed and applied on the device."""

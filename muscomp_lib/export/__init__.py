"""Networks in other forms than their training's."""

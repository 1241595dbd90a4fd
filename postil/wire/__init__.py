"""What travels between the service and its clients, written once for both ends: frozen, checked, documented."""

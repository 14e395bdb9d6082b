"""Starts servers that federate, cuts the lines between them, and acts as their users."""
